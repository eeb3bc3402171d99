"""`tune=SECONDS` from end to end: what is read, what stays fixed, its files, and going on."""

from __future__ import annotations

import json
import shlex

import pytest
from conftest import DATA, fails, lines, same, write

import zoo
from zoo import run
from zoo.config import check, compose
from zoo.errors import InputError
from zoo.files.run_folder import TUNING
from zoo.registry import find
from zoo.training import pipeline
from zoo.training.loop import Stopped
from zoo.training.options import options_of
from zoo.training.rows import open_rows
from zoo.tuning import candidates, trial, tune

WORDS = [
    "data=files",
    "threads=1",
    "device=cpu",
    "precision=fp32",
    "baseline=false",
    "from_data=false",
    "backbone.hidden_size=8",
    "backbone.embedding_size=8",
    "train.epochs=2",
    f"data.train={DATA / 'classify.jsonl'}",
]


@pytest.fixture
def brief(monkeypatch):
    """Few candidates, so that a test takes seconds."""
    monkeypatch.setattr(candidates, "find_spec", lambda name: None)
    monkeypatch.setattr(candidates.Proposals, "_combined", lambda self: iter(()))
    real = candidates.axes
    monkeypatch.setattr(tune, "axes", lambda *given: real(*given)[1:3])


def test_it_ends_with_a_run_as_it_would_be_typed(tmp_path, capsys, brief):
    out = tmp_path / "run"
    assert run.main([*WORDS, "tune=1", f"out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "no test row is read" in printed
    assert "candidates, " in printed
    assert all(len(line) <= 100 for line in printed.splitlines() if line[:1] in "┏┃│└")
    assert not (out / TUNING).exists()
    trials = lines(out / tune.TRIALS)
    assert trials[0]["work"]["rung"] == -1
    assert {"metric", "loss", "seconds", "elapsed"} <= trials[1].keys()
    after = printed.split("to type them again:\n", 1)[1].splitlines()[0]
    typed = shlex.split(after)
    assert typed[:3] == ["python", "-m", "zoo.run"]
    assert not [word for word in typed if word.startswith(("tune=", "out="))]
    assert run.main([*typed[3:], f"out={tmp_path / 'typed'}"]) == 0
    assert same(tmp_path / "typed", out)
    report = json.loads((out / "report.json").read_text())
    assert report["command"] == after.strip()
    assert report["test"]


def test_no_trial_sees_a_test_row(tmp_path, monkeypatch, brief):
    test = tmp_path / "test.jsonl"
    test.write_text("this is no row\n")
    seen = []
    real = trial.train

    def train(given, options, splits, *rest):
        seen.extend(row.source for part in (splits.train, splits.valid) for row in part)
        with pytest.raises(AssertionError, match="test rows are not read"):
            list(splits.test)
        return real(given, options, splits, *rest)

    monkeypatch.setattr(trial, "train", train)
    with pytest.raises(InputError, match=r"test\.jsonl"):  # by the final training alone
        tune.run(made([*WORDS, f"data.test={test}", "tune=1", f"out={tmp_path / 'a'}"]), TYPED, 0.0)
    assert seen
    seen.clear()
    chosen = made([*WORDS, "tune=1", f"out={tmp_path / 'b'}"])
    held_out = {row.source for row in open_rows(chosen, find("classify")).test}
    tune.run(chosen, TYPED, 0.0)
    assert held_out
    assert held_out.isdisjoint(seen)


TYPED = shlex.join(["python", "-m", "zoo.run", *WORDS])


def made(words):
    return check(compose(words))


def test_what_is_given_is_never_varied():
    def names(*words):
        chosen = made([*WORDS, *words])
        return {
            name
            for axis in candidates.axes(chosen, options_of(chosen))
            for changes in axis.values
            for name in changes
        }

    assert "backbone.hidden_size" not in names()  # in WORDS
    assert {"task.pool", "tokenizer.kind", "train.learning_rate"} <= names()
    assert "task.pool" not in names("task.pool=mean")
    assert not {n for n in names("tokenizer.kind=words") if n.startswith(("tokenizer", "init"))}
    assert "tokenizer.size" in names("tokenizer.kind=subwords")
    assert not {n for n in names("init=classify/imdb") if n.startswith(("tokenizer", "init"))}


@pytest.mark.parametrize("task", ["classify", "tag", "translate", "generate"])
def test_every_value_of_every_task_is_a_setting(task):
    chosen = made([f"task={task}"])
    varied = candidates.axes(chosen, options_of(chosen))
    assert len(varied) >= 4
    for axis in varied:
        assert axis.values[0] == {}
        for changes in axis.values:
            options_of(tune._with_changes(chosen, changes))


def test_an_end_in_between_says_how_to_go_on(tmp_path, capsys, monkeypatch, brief):
    out = tmp_path / "run"
    real = trial.train
    done = []

    def train(*given):
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(trial, "train", train)
        line = fails(capsys, *WORDS, "tune=1", f"out={out}")
    assert line == f"interrupted; go on with: python -m zoo.run resume={out}"
    before = (out / tune.TRIALS).read_text()
    assert before.count("\n") == 1
    assert "resume=" in fails(capsys, *WORDS, f"out={out}")  # not written over
    (out / tune.TRIALS).write_text(before + '{"work": {"cha')  # a line cut by a crash
    assert run.main([f"resume={out}"]) == 0
    assert (out / "manifest.json").is_file()
    after = (out / tune.TRIALS).read_text()
    assert after.startswith(before)
    assert len(list(tune._read_trials(out))) > 1


def test_an_end_in_the_final_training_goes_on_there(tmp_path, capsys, monkeypatch, brief):
    out = tmp_path / "run"
    real = pipeline.fit

    def stop(*given):
        real(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "fit", stop)
        assert f"resume={out}" in fails(capsys, *WORDS, "tune=1", f"out={out}")
    count = len(lines(out / tune.TRIALS))
    assert run.main([f"resume={out}"]) == 0
    assert len(lines(out / tune.TRIALS)) == count
    assert not (out / TUNING).exists()
    assert "this run is finished" in fails(capsys, f"resume={out}")


def test_wrong_rows_are_one_line_and_leave_nothing(tmp_path, capsys):
    path = write(tmp_path / "rows.jsonl", [{"text": f"t{i}"} for i in range(20)])
    words = [*WORDS[:-1], f"data.train={path}", "tune=2", f"out={tmp_path / 'deep' / 'run'}"]
    assert "no 'label'" in fails(capsys, *words)
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune=5", "folds=3"], "tune=… folds=…: tune first"),
        (["tune=5", "mode=explain"], "tune=… trains: mode=explain takes no tune"),
        (["tune=-1"], "tune=-1"),
    ],
)
def test_what_does_not_go_together_is_refused(capsys, words, said):
    assert said in fails(capsys, *words)


def test_several_processes_are_refused(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for words in (["tune=5"], ["folds=3"]):
        assert "in one process, not several" in fails(capsys, *WORDS, *words)


def test_a_chosen_default_is_typed_too():
    own = made([*WORDS, "tokenizer.kind=subwords", "tokenizer.size=300"])
    chosen = tune._chosen(made(WORDS), own, {"tokenizer.kind": "words"})
    words = tune._words(f"{TYPED} tune=3 out=x", chosen)
    assert words == [*WORDS, "tokenizer.kind=words", "tokenizer.size=300"]
    start = tune._words(TYPED, tune._chosen(made(WORDS), own, {"init": "classify/imdb"}))
    assert start == [*WORDS, "init=classify/imdb"]


PLAIN = {
    "threads": 1,
    "precision": "fp32",
    "device": "cpu",
    "baseline": False,
    "from_data": False,
    "backbone": {"hidden_size": 8, "embedding_size": 8},
    "train": {"epochs": 2},
}


def test_python_tunes_as_the_command_does(tmp_path, brief):
    rows = lines(DATA / "classify.jsonl")
    model = zoo.Classify.fit(rows, tune=1, out=tmp_path / "fit", **PLAIN)
    found = model.metadata["tuning"]
    assert "candidates, " in found["table"]
    assert found["settings"]["backbone.hidden_size"] == 8
    assert not {"tune", "out"} & found["settings"].keys()
    zoo.Classify.fit(rows, out=tmp_path / "again", **found["settings"])
    assert same(tmp_path / "again", tmp_path / "fit")
    assert model.metadata["command"].startswith("zoo.Classify.fit(…, **{")
    trained, report = zoo.train(*WORDS, "tune=1", f"out={tmp_path / 'train'}")
    assert trained.metadata["test"] == report["test"]
    ours, theirs = (
        {
            json.dumps(t["work"], sort_keys=True): (t["metric"], t["loss"])
            for t in trials
            if t["epochs"] == t["work"]["epochs"]  # the time has cut no epoch off
        }
        for trials in (found["trials"], report["tuning"]["trials"])
    )
    shared = ours.keys() & theirs.keys()
    assert shared  # at least the first trial: the later ones follow from the speed
    assert all(ours[work] == theirs[work] for work in shared)
    assert not {*tmp_path.rglob(TUNING)}


def test_python_goes_on_with_a_tuning_that_was_ended(tmp_path, monkeypatch, brief):
    rows, out = lines(DATA / "classify.jsonl"), tmp_path / "run"
    real, done = trial.train, []

    def train(*given):
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(trial, "train", train)
        with pytest.raises(Stopped, match=r"go on with Classify.fit\(…, resume="):
            zoo.Classify.fit(rows, tune=1, out=out, **PLAIN)
    before = (out / tune.TRIALS).read_text()
    with pytest.raises(InputError, match="goes on with a tuning as it began: leave seed out"):
        zoo.Classify.fit(rows, resume=out, seed=2)
    model = zoo.Classify.fit(rows, resume=out, **PLAIN)
    assert (out / tune.TRIALS).read_text().startswith(before)
    assert len(model.metadata["tuning"]["trials"]) > 1
