"""Building a task: rows that are skipped or refused, shares of rows, settings that do not fit."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
import torch
from conftest import DATA, SMALL, build_task, fails, lines, settings, train, write

import zoo
from zoo import run
from zoo.registry import find
from zoo.training.build import _initial_processors
from zoo.training.rows import encode_rows, open_rows

TOYS = lines(DATA / "translate.jsonl")
WORDS = "tokenizer.kind=words"
GAPS = [
    {"source": "", "target": "x"},
    {"source": "x", "target": " "},
    {"source": "\t", "target": ""},
    {"source": "y", "target": ""},
]
REASONS = {"an empty source": 1, "an empty target": 2, "an empty source and target": 1}


def training(path, out, *words) -> list[str]:
    """The command line of a small training on a file."""
    data = ["task=translate", "data=files", f"data.train={path}", f"out={out}"]
    return [*data, *SMALL, "train.epochs=1", "threads=1", *words]


def test_a_training_skips_what_cannot_be_used_and_says_so_once(capsys, tmp_path):
    rows = write(tmp_path / "rows.jsonl", [*TOYS, *GAPS])
    given = [
        f"data.valid={write(tmp_path / 'valid.jsonl', [*TOYS[:5], GAPS[0]])}",
        f"data.test={write(tmp_path / 'test.jsonl', TOYS[:6])}",
    ]
    assert run.main(training(rows, tmp_path / "out", *given)) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "skipped are" in line]
    assert [line.split(":")[0] for line in said] == [str(rows), str(tmp_path / "valid.jsonl")]
    counts = r"1 with an empty source, 2 with an empty target, 1 with an empty source and target$"
    assert re.search(rf": 60 rows; skipped are {counts}", said[0])
    assert said[1].endswith(": 5 rows; skipped are 1 with an empty source")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rows"] == {"train": 60, "valid": 5, "test": 6}


def test_a_training_that_is_strict_stops_at_the_row_and_leaves_nothing(capsys, tmp_path):
    rows = write(tmp_path / "rows.jsonl", [*TOYS, *GAPS])
    given = [f"data.{part}={DATA / 'translate.jsonl'}" for part in ("valid", "test")]
    said = fails(capsys, *training(rows, tmp_path / "out", *given, "strict=true", WORDS))
    assert said == f"{rows}:61: an empty source; strict=false skips such rows"
    write(rows, GAPS)
    said = fails(capsys, *training(rows, tmp_path / "out", *given))
    assert said.startswith(f"{rows}: holds no rows that can be used; skipped are ")
    assert not (tmp_path / "out").exists()


def test_pairs_of_which_a_side_is_too_long_are_counted_as_cut(tmp_path):
    long = [
        {"source": "a b c d e", "target": "f g h i"},
        {"source": "a b c", "target": "f g h i j"},
        {"source": "a b c d", "target": "f g h i"},
    ]
    files = {
        "train": write(tmp_path / "train.jsonl", [*TOYS, *long]),  # 4 words on each side
        "valid": write(tmp_path / "valid.jsonl", TOYS[:4]),
        "test": write(tmp_path / "test.jsonl", [*TOYS[:4], long[0]]),
    }
    words = [f"data.{part}={path}" for part, path in files.items()]
    report = train(
        tmp_path / "run", *words, WORDS, "task.max_length=4", "train.epochs=1", task="translate"
    )
    assert report["cut"] == {"train": 2, "valid": 0, "test": 1}
    assert report["rows"] == {"train": 63, "valid": 4, "test": 5}


def test_more_subwords_than_the_texts_give_are_noted_or_with_strict_refused(capsys, tmp_path):
    path = DATA / "translate.jsonl"
    assert run.main(training(path, tmp_path / "out", "tokenizer.size=3000")) == 0
    (note,) = re.findall(r"tokenizer\.size=3000: .*", capsys.readouterr().out)
    size = len(zoo.load(tmp_path / "out").tokenizer)
    assert note == f"tokenizer.size=3000: the texts give {size} subwords"
    words = training(path, tmp_path / "strict", "strict=true")
    assert fails(capsys, *words, "tokenizer.size=3000") == note
    assert not (tmp_path / "strict").exists()
    assert run.main([*words, f"tokenizer.size={size}"]) == 0
    assert "the texts give" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "words", "said"),
    [
        (
            "classify",
            ["generation.beam_size=3"],
            "generation.…: classify does not generate its answers: leave it out",
        ),
        (
            "translate",
            ["generation.n_best=9", "generation.beam_size=2"],
            "generation: n_best=9 needs a beam as wide, not beam_size=2",
        ),
        (
            "translate",
            ["generation.beam_size=0"],
            "generation.beam_size=0: Input should be greater than or equal to 1",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(capsys, tmp_path, task, words, said):
    path = DATA / f"{task}.jsonl"
    given = training(path, tmp_path / "out", f"task={task}", WORDS)[1:]
    assert fails(capsys, *given, *words) == said
    assert not (tmp_path / "out").exists()


def test_a_corpus_names_no_cure_that_it_refuses(capsys, tmp_path):
    for name, text in (("en", "two birds\n"), ("de", "zwei Vögel\n")):
        (tmp_path / f"a.{name}").write_text(text)
    words = [
        "task=classify",
        "data=parallel",
        f"data.train={tmp_path}/a",
        f"data.test={tmp_path}/a",
        f"data.valid={tmp_path}/a",
        "data.source=en",
        "data.target=de",
    ]
    said = fails(capsys, *words, f"out={tmp_path}/out")
    assert "a.en:1: no 'text'" in said
    assert "data.text=" not in said  # data=parallel has no such setting
    assert not (tmp_path / "out").exists()


def test_a_model_of_two_tokenizers_brings_both(tmp_path):
    words = (WORDS, "tokenizer.shared=false", "train.epochs=1")
    train(tmp_path / "run", *words, task="translate")
    chosen = settings(None, f"init={tmp_path / 'run'}", task="translate")
    task = build_task(chosen)
    assert task.encode(TOYS[0])["targets"] == zoo.load(tmp_path / "run").encode(TOYS[0])["targets"]


def test_an_evaluation_says_what_it_skips(capsys, tmp_path):
    train(tmp_path / "run", WORDS, "train.epochs=1", task="translate")
    rows = write(tmp_path / "rows.jsonl", [*TOYS[:4], *GAPS])
    parts = [f"data.{part}={rows}" for part in ("train", "valid", "test")]
    words = ["data=files", *parts, f"model={tmp_path / 'run'}"]
    capsys.readouterr()
    assert run.main(["mode=evaluate", *words]) == 0
    printed = capsys.readouterr()
    assert "2 with an empty target" in printed.err
    assert "skipped" not in printed.out


def test_tokenizer_labels_and_stored_rows_are_of_the_same_share(tmp_path):
    splits, whole = (
        open_rows(settings(None, f"train.fraction={share}"), find("classify")) for share in (0.1, 1)
    )
    count = len(list(splits.train))
    task, other = (build_task(settings(None, WORDS), rows) for rows in (splits, whole))
    assert len(task.tokenizer) < len(other.tokenizer)
    assert sum(task.processors["labels"].counts) == count
    assert len(encode_rows(task, splits.train, tmp_path / "train")) == count


def test_the_smallest_share_keeps_a_row_of_each_label(tmp_path):
    rows = write(tmp_path / "rows.jsonl", lines(DATA / "classify.jsonl")[:4])
    parts = [f"data.{part}={rows}" for part in ("train", "valid", "test")]
    report = train(tmp_path / "run", *parts, "train.fraction=0.001", "train.epochs=1")
    labels = {row["label"] for row in lines(rows)}
    assert report["rows"]["train"] == len(labels)


def of_init(tmp_path, task, rows, *words):
    """A small model of a task, and the untrained task that starts from it on other rows."""
    folder = tmp_path / "origin"
    train(folder, "train.epochs=1", *words, task=task)
    path = write(tmp_path / "rows.jsonl", rows)
    parts = [f"data.{part}={path}" for part in ("train", "valid", "test")]
    own = [word for word in words if word.startswith("task.")]
    torch.manual_seed(5)
    built = build_task(settings(None, f"init={folder}", *parts, *own, task=task))
    return zoo.load(folder), built


def beside(task):
    """The weights of a task beside its backbone."""
    named = task.named_parameters()
    return {name: weight for name, weight in named if not name.startswith("backbone.")}


@pytest.mark.parametrize("task", ["classify", "tag", "translate", "generate"])
def test_a_model_of_the_same_task_and_labels_starts_with_its_head(tmp_path, caplog, task):
    caplog.set_level("INFO", "zoo")
    words = {"tag": ["task.crf=true"]}.get(task, [])
    origin, built = of_init(tmp_path, task, lines(DATA / f"{task}.jsonl"), *words)
    found, wanted = beside(built), beside(origin)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    (said,) = (line for line in caplog.messages if ": kept: backbone, " in line)
    assert "left out" not in said
    assert "; new:" not in said


def test_new_labels_get_new_rows_of_the_head_and_old_ones_keep_theirs(tmp_path, caplog):
    caplog.set_level("INFO", "zoo")
    rows = [row for row in lines(DATA / "classify.jsonl") if row["label"] == "sea"][:20]
    rows += [{"text": "a lake", "label": "lake"}, {"text": "a dune", "label": "dune"}] * 9
    origin, built = of_init(tmp_path, "classify", rows)
    assert (origin.labels, built.labels) == (["mountain", "sea"], ["dune", "lake", "sea"])
    assert torch.equal(built.head.weight[2], origin.head.weight[1])
    assert torch.equal(built.head.bias[2], origin.head.bias[1])
    assert not torch.equal(built.head.weight[0], origin.head.weight[0])
    place = f"init={tmp_path / 'origin'}"
    line = f"{place}: kept: backbone, head, 1 of 3 labels, tokenizer; new: labels 'dune', 'lake'"
    assert f"{line}; left out: label 'mountain'" in caplog.messages


def test_transitions_between_labels_that_both_have_are_kept(tmp_path):
    rows = lines(DATA / "tag.jsonl")
    known = sorted({label for row in rows for label in row["labels"]})
    more = [
        row | {"labels": ["NEW" if label == known[0] else label for label in row["labels"]]}
        for row in rows
    ]
    origin, built = of_init(tmp_path, "tag", more, "task.crf=true")
    both = [label for label in built.labels if label in origin.labels]
    assert len(both) == len(known) - 1
    for one in both:
        to, source = built.labels.index(one), origin.labels.index(one)
        assert torch.equal(built.head.weight[to], origin.head.weight[source])
        for two in both:
            left = built.chain.transitions[to, built.labels.index(two)]
            assert left == origin.chain.transitions[source, origin.labels.index(two)]


def test_no_label_in_common_or_another_task_starts_a_new_head(tmp_path, caplog):
    caplog.set_level("INFO", "zoo")
    rows = [{"text": f"text {n}", "label": "xy"[n % 2]} for n in range(40)]
    origin, built = of_init(tmp_path, "classify", rows)
    assert not torch.equal(built.head.weight, origin.head.weight)
    place = f"init={tmp_path / 'origin'}"
    assert f"{place}: kept: backbone, tokenizer; new: head" in caplog.messages
    build_task(settings(None, place, task="translate"))
    said = f"{place}: kept: backbone, tokenizer; new: bridge, decoder, tokens"
    assert said in caplog.messages


def test_n_grams_of_an_initial_model_are_kept_if_they_are_learned_in_the_same_way():
    wide = find("classify").config_class
    processors = {"tokenizer": "its tokenizer", "ngrams": "its n-grams", "labels": "its labels"}
    origin = SimpleNamespace(config=wide(ngrams="words", ngram_length=3), processors=processors)
    for changes, kept in (
        ({}, {"tokenizer", "ngrams"}),
        ({"ngram_share": 0.2, "ngram_dropout": 0.5}, {"tokenizer", "ngrams"}),
        ({"ngram_length": None}, {"tokenizer"}),
        ({"ngram_count": 9}, {"tokenizer"}),
        ({"ngrams": "characters"}, {"tokenizer"}),
    ):
        options = wide(**({"ngrams": "words", "ngram_length": 3} | changes))
        chosen = SimpleNamespace(kind=SimpleNamespace, task=options)
        assert {*_initial_processors(origin, chosen)} == kept, changes
