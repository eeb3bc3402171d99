"""From ids to text, as it is written: continuations, pieces of a stream, stop strings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from zoo.text.special_ids import EOS, PAD
from zoo.text.tokenizers import Tokenizer, lines

Decode = Callable[[Sequence[int]], str]  # ids -> text

CONTEXT = 8  # tokens before a token that its text may depend on


def join_texts(
    decode: Decode,
    prompt: Sequence[int],
    continuations: Sequence[Sequence[int]],
    stop: Sequence[str],
) -> list[str]:
    """Return the text of a prompt with each of its continuations, up to a stop string."""
    given = decode(prompt)
    texts = [decode([*prompt, *ids])[len(given) :] for ids in continuations]
    return [given + "".join(until_stop_string([text], stop)) for text in texts]


def decode_steps(
    decode: Decode, ids: list[int], tokens: Iterable[int], stop_ids: Sequence[int]
) -> Iterator[str]:
    """Yield the text that each new token adds after `ids`."""
    for token in tokens:
        if token not in (PAD, *stop_ids):
            ids = [*ids[-CONTEXT:], token]  # the text of a token depends on its neighbours
            yield decode(ids)[len(decode(ids[:-1])) :]


def as_typed(answer: dict[str, Any], typed: str, read: str) -> dict[str, Any]:
    """Return the answer to a prompt with the prompt as it was typed, not as it was read."""
    n_best = [
        found | {"text": typed + found["text"].removeprefix(read)} for found in answer["n_best"]
    ]
    return answer | {"text": n_best[0]["text"], "n_best": n_best}


def encode_stream(tokenizer: Tokenizer, text: str, stream: bool) -> list[int]:
    """Return the ids of a text. In a stream a line end is EOS."""
    if not stream:
        return tokenizer.encode(text)
    first, *others = lines(text)
    ids = tokenizer.encode(first)
    for line in others:
        ids += [EOS, *tokenizer.encode(line)]
    return ids


def decode_stream(tokenizer: Tokenizer, ids: Sequence[int], stream: bool) -> str:
    """Return the text of ids. In a stream EOS is a line end."""
    if not stream:
        return tokenizer.decode(ids)
    parts: list[list[int]] = [[]]
    for i in ids:
        if i == EOS:
            parts.append([])
        else:
            parts[-1].append(i)
    return "\n".join(map(tokenizer.decode, parts))


def until_stop_string(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield a text piece by piece, up to the first of the strings `stop`.

    Characters that may begin a stop string are held back until that is decided.
    """
    waiting = ""
    longest = max(map(len, stop), default=1)
    for piece in pieces:
        waiting += piece
        found = [(waiting.index(s) + len(s), waiting.index(s)) for s in stop if s in waiting]
        if found:  # the string that is complete first counts
            yield waiting[: min(found)[1]]
            return
        safe = len(waiting) - longest + 1  # these characters cannot begin a stop string
        if safe > 0:
            yield waiting[:safe]
            waiting = waiting[safe:]
    if waiting:
        yield waiting
