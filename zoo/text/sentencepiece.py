"""Train a sentencepiece subword model, and seed its sampling."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zoo.errors import InputError
from zoo.text.canonical import canonical
from zoo.text.special_ids import BOS, EOS, PAD, UNK


class SentencePieceOptions(NamedTuple):
    """Options of the subword model."""

    coverage: float = 0.9998  # share of the characters that the model covers; the rest is UNK
    nfkc: bool = True  # NFKC: ｆｕｌｌ becomes full, ½ becomes 1⁄2; off for text that is generated
    split_digits: bool = False  # one piece per digit: the model can copy an unseen number
    blanks: bool = False  # keep runs of blanks, as pieces: for indented text such as code


def learn(texts: Iterable[str], size: int, pieces: SentencePieceOptions) -> bytes:
    """Train a BPE model of at most `size` pieces and return it in serialized form.

    Raises InputError when `size` is too small for the characters, or the texts are empty.
    """
    from sentencepiece import SentencePieceTrainer, set_random_generator_seed

    set_random_generator_seed(1)  # the trainer samples sentences: always the same ones
    model = io.BytesIO()
    raised: list[BaseException] = []
    try:
        SentencePieceTrainer.train(
            sentence_iterator=_sentences(texts, pieces.blanks, raised),
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
            input_sentence_size=1_000_000,
            shuffle_input_sentence=True,
            num_threads=1,
            split_digits=pieces.split_digits,
            minloglevel=2,
            remove_extra_whitespaces=not pieces.blanks,
            allow_whitespace_only_pieces=pieces.blanks,
            normalization_rule_name="nmt_nfkc" if pieces.nfkc else "identity",
        )
    except RuntimeError as error:
        if raised:
            raise raised[0] from None
        raise InputError(_explain(error, size)) from None
    return model.getvalue()


def seed_sampling() -> None:
    """Seed sentencepiece's sampling from torch's generator, so that a seed repeats it."""
    import torch
    from sentencepiece import set_random_generator_seed

    set_random_generator_seed(int(torch.randint(1 << 31, ())))


def _explain(error: RuntimeError, size: int) -> str:
    """Turn an error of the trainer, which names a line of C++, into one that names the setting."""
    if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error)):
        cure = f"the texts need {needed[1]} for their characters: set tokenizer.size={needed[1]}"
        return f"tokenizer.size={size}: {cure} or more"
    if re.search(r"sentences_\.empty|all_chars_count", str(error)):
        return "tokenizer.kind=subwords: the training texts are empty, there is nothing to learn"
    return f"tokenizer.kind=subwords: {' '.join(str(error).split())}"


def _sentences(
    texts: Iterable[str], keep_lines: bool, raised: list[BaseException]
) -> Iterator[str]:
    """Yield the canonical lines of the texts in pieces of at most 1000 characters.

    An exception is also appended to `raised`, because sentencepiece hides it.
    """
    try:
        for text in texts:  # sentencepiece silently skips longer sentences
            for raw in text.splitlines():
                line = canonical(raw, keep_lines)
                yield from (line[i : i + 1000] for i in range(0, len(line), 1000))
    except (Exception, KeyboardInterrupt) as error:
        raised.append(error)
        raise
