"""Train a sentencepiece subword model; segment its texts at random (BPE dropout).

All random numbers are drawn by generators of our own. sentencepiece has one generator per thread;
only the first seed that a thread sets has an effect.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from math import log, log1p
from typing import TYPE_CHECKING, NamedTuple

from zoo.errors import InputError
from zoo.text.canonical import canonical
from zoo.text.special_ids import BOS, EOS, PAD, UNK

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

MOST_SENTENCES = 1_000_000  # from which a model is learned; of more, a sample
MOST_WORDS = 100_000  # whose segmentations are kept in memory
CHUNK = re.compile("▁*[^▁]+|▁+")  # no piece reaches over the end of a match


class SentencePieceOptions(NamedTuple):
    """Options of the subword model."""

    coverage: float = 0.9998  # share of the characters that the model covers; the rest is UNK
    nfkc: bool = True  # NFKC: ｆｕｌｌ becomes full, ½ becomes 1⁄2; off for text that is generated
    split_digits: bool = False  # one piece per digit: the model can copy an unseen number
    blanks: bool = False  # keep runs of blanks, as pieces: for indented text such as code
    uncased: bool = False  # lower case and NFKC, of texts that are only read


def learn(texts: Iterable[str], size: int, pieces: SentencePieceOptions) -> bytes:
    """Train a BPE model of at most `size` pieces and return it in serialized form.

    Raises InputError when `size` is too small for the characters, or the texts are empty.
    """
    from sentencepiece import SentencePieceTrainer

    sentences = sample(_sentences(texts, pieces.blanks), MOST_SENTENCES)
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=_emptied(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=pieces.coverage,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            unk_surface="\N{WHITE SQUARE}",
            input_sentence_size=MOST_SENTENCES,
            shuffle_input_sentence=True,
            num_threads=1,
            split_digits=pieces.split_digits,
            minloglevel=2,
            remove_extra_whitespaces=not pieces.blanks,
            allow_whitespace_only_pieces=pieces.blanks,
            normalization_rule_name=_rule(pieces),
        )
    except RuntimeError as error:
        raise InputError(_explain(error, size)) from None
    return model.getvalue()


def _rule(pieces: SentencePieceOptions) -> str:
    """Return sentencepiece's name of the normalization."""
    if pieces.uncased:
        return "nmt_nfkc_cf"
    return "nmt_nfkc" if pieces.nfkc else "identity"


def sample(sentences: Iterable[str], most: int) -> list[str]:
    """Return at most `most` sentences; of more, a random sample, the same in every process."""
    generator = random.Random(1)
    kept: list[str] = []
    for number, sentence in enumerate(sentences):
        if number < most:
            kept.append(sentence)
        else:
            place = int(generator.random() * (number + 1))
            if place < most:
                kept[place] = sentence
    return kept


def _emptied(sentences: list[str]) -> Iterator[str]:
    """Yield the sentences in order, and free the memory of each."""
    sentences.reverse()
    while sentences:
        yield sentences.pop()


class Merges:
    """The merges of a BPE model, which can be left out at random.

    `sentencepiece` applies the same merges: without dropout, the pieces are the same.
    """

    def __init__(self, processor: SentencePieceProcessor) -> None:
        count = processor.get_piece_size()
        self.pieces = [processor.id_to_piece(number) for number in range(count)]
        self.ids = {piece: number for number, piece in enumerate(self.pieces)}
        self.scores = {piece: processor.get_score(i) for i, piece in enumerate(self.pieces)}
        self.whole: dict[str, tuple[list[int], int]] = {}  # word -> its ids, merges tried

    def sample(self, ids: list[int], share: float, generator: random.Random) -> list[int]:
        """Return another segmentation of the text of `ids`, which holds no special id.

        Each merge is left out with probability `share`, above 0 and below 1.
        """
        text = "".join(self.pieces[number] for number in ids)
        every = log1p(-share)
        found: list[int] = []
        skip = int(log(1 - generator.random()) / every)  # merges until one is left out
        for word in CHUNK.findall(text):
            whole, tried = self._whole(word)
            if skip >= tried:
                skip -= tried
                found += whole
                continue
            skips: list[int] = []
            most = 3 * len(word)  # each merge that is made offers two more
            while skip < most:
                skips.append(skip)
                skip += 1 + int(log(1 - generator.random()) / every)
            pieces, _ = self._merged(word, frozenset(skips))
            found += pieces
            skip = int(log(1 - generator.random()) / every)
        return found

    def _whole(self, word: str) -> tuple[list[int], int]:
        """Return the ids of a word without dropout, and how many merges are tried."""
        found = self.whole.get(word)
        if found is None:
            found = self._merged(word, frozenset())
            if len(self.whole) < MOST_WORDS:
                self.whole[word] = found
        return found

    def _merged(self, word: str, skips: frozenset[int]) -> tuple[list[int], int]:
        """Merge the characters of a word, the best pair first; leave out the tries in `skips`.

        Returns the ids of the pieces, and how many merges were tried.
        """
        scores = self.scores
        parts = list(word)
        left = [*range(-1, len(parts) - 1)]
        right = [*range(1, len(parts) + 1)]
        pairs = []
        for place in range(len(parts) - 1):
            both = parts[place] + parts[place + 1]
            if both in scores:
                pairs.append((-scores[both], place, place + 1, both))
        heapify(pairs)
        tried = 0
        while pairs:
            _, one, two, both = heappop(pairs)
            if not parts[one] or not parts[two] or len(parts[one]) + len(parts[two]) != len(both):
                continue  # one of the two has been merged with another
            tried += 1
            if tried - 1 in skips:
                continue
            parts[one], parts[two] = both, ""
            right[one] = right[two]
            if right[two] < len(parts):
                left[right[two]] = one
            for first, second in ((left[one], one), (one, right[one])):
                if first >= 0 and second < len(parts):
                    wider = parts[first] + parts[second]
                    if wider in scores:
                        heappush(pairs, (-scores[wider], first, second, wider))
        return [self.ids[part] for part in parts if part], tried


def _explain(error: RuntimeError, size: int) -> str:
    """Turn an error of the trainer, which names a line of C++, into one that names the setting."""
    if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error)):
        cure = f"the texts need {needed[1]} for their characters: set tokenizer.size={needed[1]}"
        return f"tokenizer.size={size}: {cure} or more"
    if re.search(r"sentences_\.empty|all_chars_count", str(error)):
        return "tokenizer.kind=subwords: the training texts are empty, there is nothing to learn"
    return f"tokenizer.kind=subwords: {' '.join(str(error).split())}"


def _sentences(texts: Iterable[str], keep_lines: bool) -> Iterator[str]:
    """Yield the canonical lines of the texts in pieces of at most 1000 characters."""
    for text in texts:  # sentencepiece silently skips longer sentences
        for raw in text.splitlines():
            line = canonical(raw, keep_lines)
            yield from (line[i : i + 1000] for i in range(0, len(line), 1000))
