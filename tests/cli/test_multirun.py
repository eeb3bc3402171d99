"""Several trainings from one command line."""

from __future__ import annotations

import json

import pytest
from conftest import DATA, SMALL, fails, lines

from zoo import run
from zoo.cli import multirun
from zoo.cli.multirun import combinations

TOY = ["data=files", f"data.train={DATA / 'classify.jsonl'}", "threads=1", *SMALL]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["seed=1"], [["seed=1"]]),
        (["seed=1,2"], [["seed=1"], ["seed=2"]]),
        (["task=tag,classify", "seed=3"], [["task=tag", "seed=3"], ["task=classify", "seed=3"]]),
        (["train.epochs=range(1,4)"], [[f"train.epochs={n}"] for n in (1, 2, 3)]),
        (
            ["train.epochs=1,2", "seed=1,2"],
            [[a, b] for a in ("train.epochs=1", "train.epochs=2") for b in ("seed=1", "seed=2")],
        ),
        (["data.items=[1,2]"], [["data.items=[1,2]"]]),
        (["data.train=a,b.csv"], [["data.train=a,b.csv"]]),
        (["text=so, so"], [["text=so, so"]]),
        (["out=a,b"], [["out=a,b"]]),
    ],
)
def test_commas_make_runs_but_not_in_texts_lists_and_paths(words, wanted):
    assert combinations(words) == wanted


def test_one_run_after_the_other_and_a_table(capfd, tmp_path, monkeypatch):
    """Here the runs are in this process; below each has one of its own."""
    monkeypatch.setattr(multirun, "_train", lambda words: (run.main(words), False))
    assert run.main(["-m", *TOY, "train.epochs=1,2", f"out={tmp_path / 'all'}"]) == 0
    said = capfd.readouterr().out
    assert said.index("run 1 of 2: train.epochs=1") < said.index("run 2 of 2: train.epochs=2")
    assert [len(lines(tmp_path / f"all/{n}/metrics.jsonl")) for n in (1, 2)] == [1, 2]
    table = said[said.rindex("2 runs") :]
    for number in (1, 2):
        report = json.loads((tmp_path / f"all/{number}/report.json").read_text())
        row = next(line for line in table.splitlines() if f"train.epochs={number} " in line)
        assert f"accuracy {report['valid']['accuracy']:.4f}" in row
        assert f"accuracy {report['test']['accuracy']:.4f}" in row
        assert f"all/{number}" in row


def test_a_run_that_fails_ends_no_other(capfd, tmp_path):
    """A hidden size that no class allows is known only when the run has begun."""
    words = [*TOY, "backbone.hidden_size=-1,8", "train.epochs=1", f"out={tmp_path}"]
    words = [word for word in words if word != "backbone.hidden_size=16"]
    assert run.main(["--multirun", *words]) == 2
    out, err = capfd.readouterr()
    assert "error: backbone.hidden_size=-1: Input should be greater than" in err
    assert "failed" in out
    assert "1 of 2 runs have no result" in out
    assert (tmp_path / "2/manifest.json").is_file()


def test_nothing_starts_when_a_value_is_wrong(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fails(capsys, "-m", *TOY, "train.epochs=1,0").startswith("train.epochs=0: Input should")
    assert fails(capsys, "-m", "resume=x").startswith("--multirun begins trainings: resume=DIR")
    assert not [*tmp_path.iterdir()]


def test_runs_that_all_fail_leave_no_folder_and_name_none(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zoo.cli.multirun._train", lambda words: (2, False))
    assert run.main(["-m", *TOY, "seed=1,2"]) == 2
    out = capsys.readouterr().out
    assert "2 of 2 runs have no result" in out
    assert "multirun/1" not in out
    assert not [*tmp_path.iterdir()]


def test_the_table_speaks_the_users_language(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("LANGUAGE", "ja")
    monkeypatch.setattr("zoo.cli.multirun._train", lambda words: (2, False))
    assert run.main(["-m", *TOY, "seed=1,2", f"out={tmp_path}"]) == 2
    out = capsys.readouterr().out
    assert "2件中1件目の実行: seed=1" in out
    assert "失敗" in out
    assert "フォルダ" in out
    assert "2件の実行のうち2件は結果がありません" in out
