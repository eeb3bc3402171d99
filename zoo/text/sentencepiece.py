"""Learning subwords with sentencepiece, and drawing from them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zoo.errors import InputError
from zoo.text.special_ids import BOS, EOS, PAD, UNK


class SentencePieceOptions(NamedTuple):
    """How subwords are cut out of texts."""

    coverage: float = 0.9998  # share of the texts' characters that are known; the rest is UNK
    nfkc: bool = True  # read ｆｕｌｌ and ½ as full and 1⁄2; what is written must stay as it is
    split_digits: bool = False  # each digit is a piece: a number that was never seen can be copied
    blanks: bool = False  # runs of blanks are kept, and are pieces: how a text is indented matters


def learn(texts: Iterable[str], size: int, pieces: SentencePieceOptions) -> bytes:
    """A sentencepiece model of at most `size` pieces.

    Raises InputError when `size` is too small for the characters, or the texts are empty.
    """
    from sentencepiece import SentencePieceTrainer, set_random_generator_seed

    set_random_generator_seed(1)  # it samples its sentences: the same ones every time
    model = io.BytesIO()
    raised: list[BaseException] = []
    try:
        SentencePieceTrainer.train(
            sentence_iterator=_sentences(texts, raised), model_writer=model, model_type="bpe",
            vocab_size=size, hard_vocab_limit=False, character_coverage=pieces.coverage,
            pad_id=PAD, unk_id=UNK, bos_id=BOS, eos_id=EOS, unk_surface="\N{WHITE SQUARE}",
            input_sentence_size=1_000_000, shuffle_input_sentence=True, num_threads=1,
            split_digits=pieces.split_digits, minloglevel=2,
            remove_extra_whitespaces=not pieces.blanks,
            allow_whitespace_only_pieces=pieces.blanks,
            normalization_rule_name="nmt_nfkc" if pieces.nfkc else "identity",
        )  # fmt: skip
    except RuntimeError as error:
        raise (raised[0] if raised else InputError(_cured(error, size))) from None
    return model.getvalue()


def seed_sampling() -> None:
    """Seed sentencepiece's draws from torch's generator: a seed repeats them, resuming too."""
    import torch
    from sentencepiece import set_random_generator_seed

    set_random_generator_seed(int(torch.randint(1 << 31, ())))


def _cured(error: RuntimeError, size: int) -> str:
    """What to do about an error of the trainer, which names a line of its source."""
    if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error)):
        cure = f"the texts need {needed[1]} for their characters: set tokenizer.size={needed[1]}"
        return f"tokenizer.size={size}: {cure} or more"
    if re.search(r"sentences_\.empty|all_chars_count", str(error)):
        return "tokenizer.kind=subwords: the training texts are empty, there is nothing to learn"
    return f"tokenizer.kind=subwords: {' '.join(str(error).split())}"


def _sentences(texts: Iterable[str], raised: list[BaseException]) -> Iterator[str]:
    """Short lines of the texts; an exception is also put into `raised`: sentencepiece hides it."""
    try:
        for text in texts:  # sentencepiece skips longer sentences without a word
            for line in text.splitlines():
                yield from (line[i : i + 1000] for i in range(0, len(line), 1000))
    except (Exception, KeyboardInterrupt) as error:
        raised.append(error)
        raise
