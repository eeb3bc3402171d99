"""Datasets hold what was encoded, ids and floats; memory does not grow with the corpus."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.data.batch import collate
from zoo.data.dataset import Dataset, ExampleList
from zoo.data.readers import Row
from zoo.data.sampler import BucketSampler
from zoo.text.special_ids import PAD

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    {"inputs": [4, 5, 6], "targets": 2, "tags": [7, 8]},
    {"inputs": [], "targets": 0, "tags": []},
    {"inputs": [9], "targets": 1, "tags": [3, 2, 1]},
    {"inputs": [2**31 - 1, 0], "targets": -1, "tags": []},
]


def examples(lengths):
    return ExampleList([{"inputs": [4] * length} for length in lengths])


def plain(dataset):
    """All stored values, as Python ints and lists."""
    return [
        {name: v if isinstance(v, int) else list(map(int, v)) for name, v in dataset[i].items()}
        for i in range(len(dataset))
    ]


def stored(folder, rows=ROWS, encode=dict):
    return Dataset.write(rows, encode, folder)


def test_lengths_are_those_of_both_sides(tmp_path):
    rows = [
        {"inputs": [4, 5], "targets": [6]},
        {"inputs": [7], "targets": []},
        {"inputs": [], "targets": [8] * 5},
    ]
    wanted = [[2, 1], [1, 0], [0, 5]]
    for dataset in (ExampleList(rows), stored(tmp_path / "dataset", rows)):
        assert dataset.lengths(np.arange(3)).tolist() == wanted
        assert dataset.lengths(np.array([2, 0])).tolist() == [wanted[2], wanted[0]]
    numbers = [
        {"inputs": [4, 5], "targets": 3},
        {"inputs": [], "targets": 9},
    ]  # classes are not written
    for dataset in (ExampleList(numbers), stored(tmp_path / "numbers", numbers), examples([2, 0])):
        assert dataset.lengths(np.arange(2)).tolist() == [[2, 0], [0, 0]]


def test_what_is_stored_is_what_was_encoded(tmp_path):
    dataset, memory = stored(tmp_path / "dataset"), ExampleList(ROWS)
    assert len(dataset) == len(memory) == 4
    assert plain(dataset) == plain(Dataset(tmp_path / "dataset")) == ROWS
    for rows in ([0], [2, 0, 1], [1], [3, 3]):
        rows = np.array(rows)
        assert dataset.lengths(rows).tolist() == memory.lengths(rows).tolist()
        found, wanted = collate(dataset.examples(rows)), collate(memory.examples(rows))
        for name in ("inputs", "lengths", "targets"):
            assert torch.equal(getattr(found, name), getattr(wanted, name))


def test_a_dataset_is_batched_like_examples_in_memory(tmp_path):
    rows = [{"inputs": [4] * (i * 7 % 13)} for i in range(200)]
    dataset = stored(tmp_path / "dataset", rows)
    one, two = (
        BucketSampler(kept, 40, 5, np.random.default_rng(1))
        for kept in (dataset, ExampleList(rows))
    )
    assert list(map(list, one)) == list(map(list, two))


def test_a_corpus_of_empty_texts_is_stored(tmp_path):
    dataset = stored(tmp_path / "dataset", [{"inputs": [], "targets": 1}] * 3)
    assert plain(dataset) == [{"inputs": [], "targets": 1}] * 3
    assert [batch.tolist() for batch in BucketSampler(dataset, 9, 2)] == [[0, 1], [2]]
    assert collate(dataset.examples(np.arange(3))).inputs.tolist() == [[PAD]] * 3
    assert len(dataset.fingerprint()) == 64


def test_a_corpus_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no rows to encode"):
        stored(tmp_path / "dataset", [])


def test_a_folder_holds_one_dataset(tmp_path):
    stored(tmp_path / "dataset")
    with pytest.raises(FileExistsError):
        stored(tmp_path / "dataset")


def test_a_row_that_cannot_be_encoded_is_passed_on_with_files_closed(tmp_path, monkeypatch):
    opened = []

    def watched(*arguments):
        opened.append(open(*arguments))  # noqa: SIM115  # the dataset closes it
        return opened[-1]

    def encode(row):
        if row["targets"] == 1:
            raise KeyError("no such label")
        return row

    monkeypatch.setattr("zoo.data.dataset.open", watched, raising=False)
    with pytest.raises(KeyError, match="no such label"):
        stored(tmp_path / "dataset", encode=encode)
    assert len(opened) == 5  # ids and tags with their ends, target
    assert all(file.closed for file in opened)


def test_the_fingerprint_tells_datasets_apart(tmp_path):
    changes = [ROWS, ROWS[::-1], ROWS[:-1]]
    for field, value in (("inputs", [4, 5, 7]), ("targets", 3), ("tags", [7, 9])):
        changes.append([ROWS[0] | {field: value}, *ROWS[1:]])
    changes.append(
        [ROWS[0] | {"inputs": [4, 5]}, ROWS[1] | {"inputs": [6]}, *ROWS[2:]]
    )  # ends only
    prints = [stored(tmp_path / str(i), rows).fingerprint() for i, rows in enumerate(changes)]
    assert len(set(prints)) == len(changes)
    assert stored(tmp_path / "again").fingerprint() == prints[0]
    assert Dataset(tmp_path / "0").fingerprint() == prints[0]


def test_the_fingerprint_reads_all_of_a_long_field(tmp_path):
    ids = [4] * ((1 << 20) + 5)
    one, two = (
        stored(tmp_path / str(last), [{"inputs": [*ids, last]}]).fingerprint() for last in (4, 5)
    )
    assert one != two


def test_cut_rows_are_counted(tmp_path):
    whole = [{"inputs": [4] * min(size, 3), "cut": int(size > 3)} for size in (0, 2, 3, 4, 9)]
    assert stored(tmp_path / "cut", whole).count_truncated() == 2
    assert stored(tmp_path / "plain").count_truncated() == 0


SERIES = [
    {"inputs": np.arange(6, dtype=np.float32).reshape(3, 2) / 7, "targets": [0.5, 1.5]},
    {"inputs": np.zeros((0, 2), np.float32), "targets": []},
    {"inputs": np.ones((1, 2), np.float64), "targets": [-2.25]},
]


def test_floats_keep_their_dtype_and_width(tmp_path):
    stored(tmp_path / "dataset", SERIES)
    dataset = Dataset(tmp_path / "dataset")
    assert len(dataset) == 3
    for number, row in enumerate(SERIES):
        found = dataset[number]["inputs"]
        assert (found.dtype, found.shape) == (np.float32, row["inputs"].shape)
        assert np.array_equal(found, row["inputs"].astype(np.float32))
        assert dataset[number]["targets"].tolist() == row["targets"]
    assert dataset.lengths(np.arange(3)).tolist() == [[3, 2], [0, 0], [1, 1]]


def test_a_float_for_each_row_is_a_float_again(tmp_path):
    dataset = stored(tmp_path / "dataset", [{"inputs": [4], "targets": 0.1}] * 2)
    assert dataset[1]["targets"] == pytest.approx(0.1, abs=1e-8)
    assert collate(dataset.examples(np.arange(2))).targets.dtype.is_floating_point


def test_a_series_without_steps_may_come_first(tmp_path):
    dataset = stored(tmp_path / "dataset", [SERIES[1] | {"targets": [1.0]}, SERIES[0]])
    assert dataset[0]["inputs"].shape == (0, 2)
    assert np.array_equal(dataset[1]["inputs"], SERIES[0]["inputs"])


@pytest.mark.parametrize(
    ("second", "wrong"),
    [
        ({"inputs": np.ones((2, 3), np.float32)}, "other shapes"),
        ({"inputs": 4}, "other shapes"),
        ({"inputs": np.ones((2, 2), np.float32), "more": 1}, "other fields"),
    ],
)
def test_rows_of_another_form_are_refused_with_their_place(tmp_path, second, wrong):
    rows = [Row({"inputs": SERIES[0]["inputs"]}, "a:1"), Row(second, "a:2")]
    with pytest.raises(ValueError, match=f"^a:2: {wrong} than in the rows before it$"):
        stored(tmp_path / "dataset", rows)


def test_floats_among_ids_are_refused(tmp_path):
    rows = [Row({"inputs": [1, 2]}, "a:1"), Row({"inputs": [0.5]}, "a:2")]
    with pytest.raises(ValueError, match=r"^a:2: floats, but ids in the rows before it$"):
        stored(tmp_path / "dataset", rows)


MEMORY = """
import re, sys, tempfile
from pathlib import Path
import numpy as np
from zoo.data.batch import collate
from zoo.data.dataset import Dataset

peak = 0

def look():
    global peak
    found = re.search(r"RssAnon:\\s*(\\d+)", Path("/proc/self/status").read_text())
    peak = max(peak, int(found[1]))

def rows(count):
    for number in range(count):
        if number % 500 == 0:
            look()
        yield {"inputs": list(range(number % 7, 200 + number % 7)), "targets": number % 5}

with tempfile.TemporaryDirectory() as folder:
    dataset = Dataset.write(rows(int(sys.argv[1])), dict, Path(folder) / "dataset")
    steps = 0
    for number, batch in enumerate(dataset.sampler(64 * 200, 64, np.random.default_rng(1))):
        steps += int(collate(dataset.examples(batch)).lengths.sum())
        if number % 20 == 0:
            look()
    dataset.fingerprint()
    look()
    assert steps == 200 * int(sys.argv[1])
print(peak)
"""


def peak_memory(rows):
    """Peak anonymous memory, in MB, of a process that writes and reads rows of 200 ids."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(rows)], cwd=ROOT, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc/self/status")
def test_memory_does_not_grow_with_the_corpus():
    assert peak_memory(60_000) - peak_memory(5_000) < 30  # 12 and 1 million ids of 4 bytes
