"""Encoded rows on disk, and their length-bucketed, padded batches."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.readers import Row
from zoo.text.characters import CharBatch
from zoo.text.special_ids import PAD

IGNORE_INDEX = -100  # the target on padding, which cross_entropy ignores
NO_WORD = -1  # padding of `word_starts`
POOL_BATCHES = 64  # batches of rows that are sorted by length together

Example = Mapping[str, Any]  # a row encoded by Task.encode: field -> an int or a list of ints
Augment = Callable[[Sequence[Example]], Sequence[Example]]


@dataclass(frozen=True)
class Batch:
    """Padded rows. The padding is PAD in `ids` and IGNORE_INDEX in `target`, and is made only here."""

    ids: Tensor  # (batch, time) int64
    lengths: Tensor  # (batch,) int64: the steps of each row without padding
    row_numbers: Tensor  # (batch,) int64: the index of each row in its split
    target: Tensor | None = None  # (batch,) or (batch, target steps) int64
    continues: bool | None = None  # of a stream: whether the windows continue the last batch
    word_starts: Tensor | None = None  # (batch, words) int64: first step of a word; -1 on padding
    characters: CharBatch | None = None  # the characters of the word at each step
    head: str = ""  # of a shared backbone: the head that the batch belongs to
    target_places: Tensor | None = None  # (targets,) int64: their indices in target.flatten()

    @classmethod
    def collate(cls, examples: Sequence[Example], index: Iterable[int]) -> Batch:
        """Pad encoded rows to a batch; `index` holds their row numbers."""
        ids = [example["ids"] for example in examples]
        target = None
        if "target" in examples[0]:
            targets = [example["target"] for example in examples]
            scalar = isinstance(targets[0], int)
            target = torch.tensor(targets) if scalar else _padded(targets, IGNORE_INDEX)
        lengths = torch.tensor([len(row) for row in ids])
        first = letters = None
        if "first" in examples[0]:
            first = _padded([example["first"] for example in examples], NO_WORD)
        if "letters" in examples[0]:
            letters = CharBatch.collate([example["letters"] for example in examples])
        places = torch.tensor(list(index))
        return cls(_padded(ids, PAD), lengths, places, target, None, first, letters)

    @property
    def target_mask(self) -> Tensor:
        """Return True where there is a target, (batch, target steps) bool."""
        assert self.target is not None
        return self.target != IGNORE_INDEX

    def at_targets(self, x: Tensor) -> Tensor:
        """Return the steps of x (batch, target steps, ...) that have a target: (targets, ...).

        A batch that was moved to a device holds `target_places`, so the device is not synchronised.
        """
        places = self.target_places
        if places is None:
            places = self._find_target_places()
        return x.flatten(0, 1)[places]

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device; `lengths` stay on the CPU, where they are read.

        From pinned memory the copy is asynchronous.
        """
        batch = self.with_places()
        moved = {name: part.to(device, non_blocking=True) for name, part in batch._parts().items()}
        return replace(batch, **moved)

    def with_places(self) -> Batch:
        """Return the batch with `target_places` if there is a target for each step."""
        if self.target_places is not None or self.target is None or self.target.dim() != 2:
            return self
        return replace(self, target_places=self._find_target_places())

    def _find_target_places(self) -> Tensor:
        """Return the indices of the targets in `target.flatten()`, (targets,) int64."""
        return self.target_mask.flatten().nonzero().squeeze(1)

    def pin_memory(self) -> Batch:
        """Copy the batch to pinned memory, from which a CUDA device copies asynchronously."""
        batch = self.with_places()
        return replace(batch, **{name: part.pin_memory() for name, part in batch._parts().items()})

    def _parts(self) -> dict[str, Any]:
        """Return the tensors that are moved to a device, by name."""
        names = ("ids", "target", "word_starts", "characters", "target_places")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def __len__(self) -> int:
        return len(self.lengths)


def _length(value: Any) -> int:
    """Return the length of a list, 0 for an int."""
    return 0 if isinstance(value, int) else len(value)


def _padded(rows: Sequence[Sequence[int]], padding: int) -> Tensor:
    """Pad to (batch, time) int64, at least one step wide so that a batch of empty texts can run."""
    padded = np.full((len(rows), max(1, *map(len, rows))), padding, dtype=np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return torch.from_numpy(padded)


class ExampleList:
    """Encoded rows in memory."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Return the input and target steps of rows, (rows, 2); 0 for a target that is no list."""
        examples = (self.examples[row] for row in rows)
        both = [(len(e["ids"]), _length(e.get("target", 0))) for e in examples]
        return np.array(both).reshape(-1, 2)

    def batch(self, rows: np.ndarray, vary: Augment | None = None) -> Batch:
        """Return the given rows as one padded batch; `vary` augments the examples first."""
        examples: Sequence[Example] = [self[int(row)] for row in rows]
        return Batch.collate(examples if vary is None else vary(examples), map(int, rows))

    def sampler(
        self, tokens: int, rows: int, generator: np.random.Generator | None = None
    ) -> Iterator[np.ndarray]:
        """Yield the batches of one epoch as row numbers for `batch`: see `bucket_sampler`."""
        return bucket_sampler(self, tokens, rows, generator)

    def progress(self, batch: np.ndarray | None = None) -> int:
        """Return the rows of a batch of the sampler; with None, the rows of an epoch."""
        return len(self) if batch is None else len(batch)

    def describe_batch(self, batch: np.ndarray) -> str:
        """Return the source of a batch of the sampler, for an error message."""
        more = ", …" if len(batch) > 8 else ""
        return f"training rows {', '.join(map(str, batch[:8] + 1))}{more}"


class Dataset(ExampleList):
    """Encoded rows in memory-mapped files: memory does not grow with the corpus.

    Each field of `Task.encode` is a file NAME.bin of int32. A field of lists also has a file
    NAME.ends (int64) with the end of each list. An epoch holds only the order of the rows in
    memory, four bytes each.
    """

    def __init__(self, folder: Path) -> None:
        self.values = {f.stem: _mapped(f, np.int32) for f in sorted(folder.glob("*.bin"))}
        self.ends = {f.stem: _mapped(f, np.int64) for f in sorted(folder.glob("*.ends"))}
        self._fingerprint: str | None = None

    @classmethod
    def write(cls, rows: Iterable[Row], encode: Callable[[Row], Example], folder: Path) -> Dataset:
        """Encode the rows one by one into the new folder `folder`.

        Raises FileExistsError if the folder exists, and ValueError if there are no rows or their
        fields differ. An error of `encode`, such as RowError, is passed on.
        """
        folder.mkdir(parents=True)
        files: dict[str, IO[bytes]] = {}
        ends: Counter[str] = Counter()
        with ExitStack() as stack:

            def append(name: str, code: str, numbers: Sequence[int]) -> None:
                if name not in files:
                    files[name] = stack.enter_context(open(folder / name, "wb"))
                array(code, numbers).tofile(files[name])

            for row in rows:
                example = encode(row)
                if files and {*example} != {name.partition(".")[0] for name in files}:
                    raise ValueError(f"{row.source}: other fields than in the rows before it")
                for name, value in example.items():
                    append(f"{name}.bin", "i", [value] if isinstance(value, int) else value)
                    if not isinstance(value, int):
                        ends[name] += len(value)
                        append(f"{name}.ends", "q", [ends[name]])
        if not files:
            raise ValueError("no rows to encode")
        return cls(folder)

    def __len__(self) -> int:
        return len(self.ends["ids"])

    def __getitem__(self, index: int) -> Example:
        example: dict[str, Any] = {}
        for name, values in self.values.items():
            if name in self.ends:
                start = self.ends[name][index - 1] if index else 0
                example[name] = values[start : self.ends[name][index]]
            else:
                example[name] = int(values[index])
        return example

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Return the input and target steps of rows, (rows, 2); 0 for a target that is no list."""
        return np.stack([self._sizes(rows, "ids"), self._sizes(rows, "target")], 1)

    def _sizes(self, rows: np.ndarray, name: str) -> np.ndarray:
        """Return the list lengths of a field, 0 if the field has no lists."""
        if name not in self.ends:
            return np.zeros(len(rows), np.int64)
        ends = self.ends[name]
        return ends[rows] - np.where(rows > 0, ends[rows - 1], 0)

    def count_truncated(self) -> int:
        """Return the number of rows that were truncated: their field "cut" is 1."""
        return int(self.values["cut"].sum()) if "cut" in self.values else 0

    def fingerprint(self) -> str:
        """Return a hash of all stored values: equal for the same rows encoded in the same way."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for values in (*self.values.values(), *self.ends.values()):
                for start in range(0, len(values), 1 << 20):
                    digest.update(values[start : start + (1 << 20)].tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def _mapped(path: Path, kind: type) -> np.ndarray:
    """Map a file to memory; an empty file cannot be mapped."""
    return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)


def bucket_sampler(
    dataset: ExampleList, tokens: int, rows: int, generator: np.random.Generator | None = None
) -> Iterator[np.ndarray]:
    """Yield the batches of one epoch as row numbers, with rows of similar length together.

    A batch holds at most `rows` rows, and at most `tokens` steps of input and of target, padding
    included; a longer row is a batch of its own. With a `generator` the rows and the batches are
    shuffled. Without one the pools keep the order of the rows.
    """
    order = np.arange(len(dataset), dtype=np.int32)
    if generator is not None:
        generator.shuffle(order)
    for start in range(0, len(order), rows * POOL_BATCHES):
        pool = order[start : start + rows * POOL_BATCHES]
        lengths = dataset.lengths(pool)
        by_length = np.lexsort(lengths.T)  # by target length, then by input length
        cuts = list(_cuts(lengths[by_length].max(1), tokens, rows))
        batches = np.split(pool[by_length], cuts)
        if generator is not None:
            generator.shuffle(batches)
        yield from batches


def _cuts(lengths: np.ndarray, tokens: int, rows: int) -> Iterator[int]:
    """Yield the positions at which a new batch begins, for rows of these `lengths`."""
    first = 0
    longest = 1
    for place, length in enumerate(lengths):
        count = place - first + 1
        longest = max(longest, length)
        if count > 1 and (count > rows or count * longest > tokens):
            yield place
            first = place
            longest = max(1, length)


def shard(batch: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Return the rows of a batch for process `rank` of `world`; there may be none."""
    return batch[rank::world]
