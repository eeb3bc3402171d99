"""Tokenizers: text to ids and back. Words, subwords or characters, trained on the training rows.

Ids 0..3 are PAD, UNK, BOS and EOS in every tokenizer. No text encodes to PAD, BOS or EOS: a review
that contains "<pad>" must not become padding. Each text is read in its canonical form: see
`zoo.text.canonical`.
"""

from __future__ import annotations

import json
import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from zoo.errors import InputError
from zoo.files import atomic, read_json, write_text
from zoo.messages import Message, _
from zoo.text.canonical import canonical, composed
from zoo.text.sentencepiece import Merges, SentencePieceOptions, learn
from zoo.text.special_ids import BOS, EOS, PAD, SPECIALS, UNK

PLAIN_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")
_SIGNS = str.maketrans({**{sign: f" {sign} " for sign in "'.,()!?"}, ";": " ", ":": " "})


def lines(text: str) -> list[str]:
    """Split a text at LF, CR and CRLF; a line end at the end of the text begins an empty line."""
    return re.split("\r\n|\r|\n", text)


def units(kind: str) -> Message:
    """Return what texts are cut into, as it is said: `subwords`, `characters`, else `words`."""
    named = {"subwords": _("subwords"), "characters": _("characters")}
    return named.get(kind, _("words"))


def basic_english(text: str) -> list[str]:
    """Split a text into lower-cased words and signs, as torchtext's tokenizer of this name.

    Quotation marks, colons, semicolons and the tag of a line break are left out.
    """
    return text.lower().replace('"', "").replace("<br />", " ").translate(_SIGNS).split()


def cut_at(tokens: Sequence[str], text: str, left_out: str = "") -> list[str] | None:
    """Return the parts of a text that begin behind the token before and end with each token.

    Joined they are the text. Case is ignored, and so are characters of
    `left_out` inside a token, and line breaks of HTML. None if a token cannot be found.
    """
    low = text.lower()
    if len(low) != len(text):  # "İ" becomes two
        low = "".join(c.lower()[0] for c in text)
    if left_out:
        low = low.replace("<br />", " " * len("<br />"))
    between = f"[{re.escape(left_out)}]*" if left_out else ""
    found, place = [], 0
    for token in tokens:
        letters = map(re.escape, token.lower())
        match = re.compile(between.join(letters)).search(low, place)
        if match is None:
            return None
        found.append(text[place : match.end()])
        place = match.end()
    if found:
        found[-1] += text[place:]
    return found


class Tokenizer(ABC):
    """Text to ids. `kind` is its name in a config, `suffix` that of its file."""

    kind: ClassVar[str]
    suffix: ClassVar[str]

    @classmethod
    @abstractmethod
    def train(
        cls,
        texts: Iterable[str],
        size: int,
        min_count: int = 1,
        pieces: SentencePieceOptions | None = None,
    ) -> Tokenizer:
        """Learn a vocabulary of at most `size` entries, the four specials included.

        An entry must occur `min_count` times. `pieces` are the options of a subword model.
        """

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> Tokenizer:
        """Load the tokenizer from a file.

        Raises InputError if the file cannot be read or is not such a vocabulary.
        """

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the tokenizer to a file."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; a token that is not in the vocabulary is UNK."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; PAD, BOS and EOS are left out."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of ids, the four specials included."""

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the text of each id; a special id is its name."""
        return [SPECIALS[i] if i < len(SPECIALS) else self.decode([i]) for i in ids]

    def surfaces(self, text: str) -> list[str]:
        """Return what stands in the text for each id of `encode`, with the blanks before it.

        Where a token cannot be found in the text, the text of each id.
        """
        return self.pieces(self.encode(text))


class _Vocabulary(Tokenizer):
    """A list of tokens, most frequent first. Subclasses split text into tokens."""

    suffix = ".json"
    glue: ClassVar[str]
    left_out: ClassVar[str] = ""  # what `split` leaves out inside a token

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.ids = {token: i for i, token in enumerate(tokens) if i >= len(SPECIALS)}

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """Split a text into tokens."""

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        size: int,
        min_count: int = 1,
        pieces: SentencePieceOptions | None = None,
    ) -> Tokenizer:
        from torchtext.vocab import Vocab

        split = cls([]).split
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(split(text))
        # Vocab leaves out words that are spelled like a special
        vocab = Vocab(counts, max_size=size - len(SPECIALS), min_freq=min_count, specials=SPECIALS)
        return cls(vocab.itos)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        tokens = read_json(path)
        strings = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
        if not strings or tokens[:4] != SPECIALS or len(set(tokens)) != len(tokens):
            raise InputError(
                f"{path}: not a vocabulary: a list of distinct tokens, {SPECIALS} first"
            )
        return cls(tokens)

    def save(self, path: Path) -> None:
        write_text(path, json.dumps(self.tokens, ensure_ascii=False, indent=0) + "\n")

    def encode(self, text: str) -> list[int]:
        ids = self.ids
        return [ids.get(token, UNK) for token in self.split(text)]

    def decode(self, ids: Iterable[int]) -> str:
        return self.glue.join(self.tokens[i] for i in ids if i not in (PAD, BOS, EOS))

    def surfaces(self, text: str) -> list[str]:
        tokens = self.split(text)
        found = cut_at(tokens, composed(text), self.left_out)
        if found is None:
            return [self.glue * (number > 0) + token for number, token in enumerate(tokens)]
        return found

    def __len__(self) -> int:
        return len(self.tokens)


class Words(_Vocabulary):
    """Lower-cased words and punctuation marks: see `basic_english`."""

    kind = "words"
    glue = " "
    left_out = '"'

    def split(self, text: str) -> list[str]:
        return basic_english(composed(text))


class Whitespace(_Vocabulary):
    """Tokens between blanks, unchanged: for text that is already tokenized."""

    kind = "whitespace"
    glue = " "

    def split(self, text: str) -> list[str]:
        return composed(text).split()


class Lowercase(Whitespace):
    """Lower-cased tokens between blanks: for tasks that read the case elsewhere."""

    kind = "lowercase"

    def split(self, text: str) -> list[str]:
        return composed(text).lower().split()


class Characters(_Vocabulary):
    """Unicode code points, case and blanks included.

    White space that the vocabulary lacks is read as a blank.
    """

    kind = "characters"
    glue = ""

    def split(self, text: str) -> list[str]:
        return list(canonical(text, keep_lines=True))

    def encode(self, text: str) -> list[int]:
        ids = self.ids
        blank = ids.get(" ", UNK)
        return [ids[c] if c in ids else blank if c.isspace() else UNK for c in self.split(text)]


class Subwords(Tokenizer):
    """Subwords learned by sentencepiece, in any script. A run of blanks is one blank by default."""

    kind = "subwords"
    suffix = ".model"

    def __init__(self, model: bytes) -> None:
        from sentencepiece import SentencePieceProcessor

        self.model = model
        self.processor = SentencePieceProcessor()
        self.processor.LoadFromSerializedProto(model)
        self.merges: Merges | None = None  # made when they are needed
        normalize = self.processor.normalize
        self.keeps_blanks = normalize("a  b") != normalize("a b")
        self.uncased = normalize("A") == normalize("a")

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        size: int,
        min_count: int = 1,
        pieces: SentencePieceOptions | None = None,
    ) -> Tokenizer:
        """Learn a subword model; `min_count` is not used, as `size` alone limits the pieces.

        Raises InputError if `size` is too small for the characters or the texts are empty.
        """
        return cls(learn(texts, size, pieces or SentencePieceOptions()))

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        try:
            tokenizer = cls(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        except RuntimeError:
            raise InputError(f"{path}: not a sentencepiece model") from None
        spm = tokenizer.processor
        if [spm.pad_id(), spm.unk_id(), spm.bos_id(), spm.eos_id()] != [PAD, UNK, BOS, EOS]:
            raise InputError(f"{path}: ids 0..3 must be PAD, UNK, BOS, EOS")
        return tokenizer

    def save(self, path: Path) -> None:
        with atomic(path) as file:
            file.write(self.model)

    def encode(self, text: str) -> list[int]:
        return self.processor.encode(self._canonical(text))

    def _canonical(self, text: str) -> str:
        """Return a text as the model reads it; without case also with plain quotation marks."""
        text = canonical(text, self.keeps_blanks)
        return text.translate(PLAIN_QUOTES) if self.uncased else text

    def surfaces(self, text: str) -> list[str]:
        pieces = self.processor.encode(self._canonical(text), out_type=str)
        shown = [piece.replace("\u2581", " ") for piece in pieces]
        if shown and not text.startswith(" "):  # the blank that a model puts before a text
            shown[0] = shown[0].removeprefix(" ")
        return shown

    def sample(self, ids: list[int], share: float, generator: random.Random) -> list[int]:
        """Return another segmentation of the same text (BPE dropout, Provilkov et al. 2020).

        Each merge is left out with probability `share`, from 0 below 1. A final EOS is kept. Ids
        with an UNK are returned unchanged.
        """
        end: list[int] = []
        if ids and ids[-1] == EOS:
            ids, end = ids[:-1], ids[-1:]
        if UNK in ids or not share:
            return ids + end
        if self.merges is None:
            self.merges = Merges(self.processor)
        return self.merges.sample(ids, share, generator) + end

    def decode(self, ids: Iterable[int]) -> str:
        return self.processor.decode([i for i in ids if i not in (PAD, BOS, EOS)])

    def __len__(self) -> int:
        return self.processor.get_piece_size()


TOKENIZERS: dict[str, type[Tokenizer]] = {
    t.kind: t for t in (Words, Whitespace, Lowercase, Subwords, Characters)
}
