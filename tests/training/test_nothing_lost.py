"""What a training has computed stays: the model is saved first, and its folder is its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import DATA, ROOT, arguments, command, fails, settings, train, write
from forked import Forked
from run_cases import report

import zoo
import zoo.run
from zoo.errors import InputError
from zoo.evaluation import plots
from zoo.files.run_folder import MARKER, locked
from zoo.training import pipeline

TOY = DATA / "classify.jsonl"


def crash(*_, **__):
    raise RuntimeError("planted")


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("zoo.training.pipeline.evaluate", "test figures"),
        ("zoo.training.pipeline.run_baseline", "baseline"),
        ("zoo.evaluation.plots.learning_curve", "learning curve"),
        ("zoo.evaluation.plots.confusion", "confusion.png"),
        ("tasks.classify.Classify.report", "task's own report"),
    ],
)
def test_a_crash_after_the_training_loses_nothing(tmp_path, monkeypatch, caplog, place, what):
    monkeypatch.setattr(place, crash)
    found = train(tmp_path / "run", "baseline=true")
    line = f"no {what}: RuntimeError: planted"
    assert found["notes"] == report(tmp_path / "run")["notes"] == [line]
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [line]
    model = zoo.load(tmp_path / "run")
    assert model.predict("Gulls follow the trawler.")[0] in ("sea", "mountain")
    assert bool(model.metadata["test"]) == (what != "test figures")
    assert bool(model.metadata["baseline"]) == (what != "baseline")
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert ("mistakes" in found) == (what not in ("task's own report", "test figures"))


PICTURES = [
    ("tag", "confusion", ["confusion.png"], "sentences"),
    ("translate", "attention", [f"attention-{n}.png" for n in (1, 2, 3)], "signatures"),
    ("generate", "surprise", ["surprise.png"], "examples"),
]


@pytest.mark.parametrize(("task", "picture", "names", "kept"), PICTURES)
def test_a_crash_in_one_picture_leaves_the_rest(tmp_path, monkeypatch, task, picture, names, kept):
    monkeypatch.setattr(f"zoo.evaluation.plots.{picture}", crash)
    found = train(tmp_path / "run", "train.epochs=1", task=task)
    assert found["notes"] == [f"no {name}: RuntimeError: planted" for name in names]
    assert kept in found
    assert (tmp_path / "run" / "learning_curve.png").exists()
    zoo.load(tmp_path / "run")


def test_the_model_is_there_before_it_is_tested(tmp_path, monkeypatch):
    seen, real = [], pipeline.evaluate

    def look(*given, **options):
        seen.append(zoo.load(tmp_path / "run").metadata["valid"])
        return real(*given, **options)

    monkeypatch.setattr(pipeline, "evaluate", look)
    found = train(tmp_path / "run")
    assert seen == [found["valid"]]


def test_a_training_needs_no_standard_output(tmp_path, monkeypatch):
    """Python has None for a stream that was closed before it started, as by `>&-`."""
    monkeypatch.setattr("sys.stdout", None)
    assert zoo.run.main([*arguments(tmp_path / "run"), "train.epochs=1"]) == 0
    assert (tmp_path / "run/manifest.json").is_file()


def test_texts_without_a_word_are_trained_on_beside_a_baseline_of_characters(capsys, tmp_path):
    rows = [{"text": "😡🎉"[n % 2] + "!" * n, "label": "-+"[n % 2]} for n in range(60)]
    path = write(tmp_path / "faces.jsonl", rows)
    words = arguments(tmp_path / "run", f"data.train={path}", "baseline=true")
    assert zoo.run.main([w for w in words if w != "baseline=false"]) == 0
    assert capsys.readouterr().err == ""
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["baseline"]["accuracy"] > 0.5
    assert zoo.load(tmp_path / "run").predict(["🎉"])[0] in "-+"


def many(tmp_path, labels=150):
    rows = [{"text": f"a{n % 10} b{n // 10}", "label": f"L{n:03}"} for n in range(labels)] * 2
    path = write(tmp_path / "many.jsonl", rows)
    parts = [f"data.{part}={path}" for part in ("train", "valid", "test")]
    return train(tmp_path / "run", *parts, "baseline=false"), rows


def test_a_report_does_not_grow_with_the_square_of_the_labels(tmp_path):
    found, _ = many(tmp_path)
    shown = found["confusion"]
    assert len(shown["labels"]) == len(shown["counts"]) == plots.MOST_LABELS
    assert {len(row) for row in shown["counts"]} == {plots.MOST_LABELS}
    assert len(json.dumps(found)) < 200_000


def test_probabilities_are_those_of_the_likeliest_of_many_labels(tmp_path, monkeypatch):
    found, rows = many(tmp_path)
    model = zoo.load(tmp_path / "run")
    texts = [row["text"] for row in rows]
    answers = model.predict(texts, probabilities=True)
    assert {len(answer) for answer in answers} == {100}
    monkeypatch.setattr("zoo.evaluation.single_labels.MOST_LABELS", 1000)  # all of them
    everything = model.predict(texts, probabilities=True)
    for some, every in zip(answers, everything, strict=True):
        assert [*some] == sorted(every, key=every.get, reverse=True)[:100]
        assert some == {label: pytest.approx(every[label], rel=1e-4) for label in some}
    (again,) = [pipeline.evaluate_saved(settings(None, *evaluated(tmp_path)))[1]]
    assert again == {name: pytest.approx(value, rel=1e-4) for name, value in found["test"].items()}


def evaluated(tmp_path):
    path = tmp_path / "many.jsonl"
    parts = [f"data.{part}={path}" for part in ("train", "valid", "test")]
    return [*parts, f"model={tmp_path / 'run'}", "mode=evaluate"]


def test_a_baseline_is_left_out_where_its_weights_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "BASELINE_LABELS", 1)
    found = train(tmp_path / "run", "baseline=true")
    assert found["baseline"] is None
    assert found["notes"] == ["no baseline: it keeps weights for each label, and 2 are more than 1"]


def test_a_folder_that_is_in_use_is_refused(capsys, tmp_path):
    out = tmp_path / "run"
    words = [w for w in arguments(out) if not w.startswith("out=")]
    with locked(out, "out"):
        assert fails(capsys, *words, f"out={out}").startswith(f"out={out} is in use: ")
        assert [p.name for p in out.iterdir()] == [MARKER]
    assert not out.exists()
    assert zoo.run.main([*words, f"out={out}"]) == 0
    assert (out / MARKER).is_file()


def test_a_run_is_not_resumed_while_it_runs(capsys, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("zoo.training.pipeline._save", interrupt)
        with pytest.raises(InputError, match="interrupted; go on with"):
            train(tmp_path / "run")
    with locked(tmp_path / "run", "out"):
        error = fails(capsys, f"resume={tmp_path / 'run'}")
    assert error.startswith(f"resume={tmp_path / 'run'} is in use")
    assert zoo.run.main([f"resume={tmp_path / 'run'}"]) == 0
    assert zoo.load(tmp_path / "run").metadata["test"]


HOLD = """
import sys, time
from pathlib import Path
from zoo.files.run_folder import locked
with locked(Path(sys.argv[1]), "out"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="is in use"), locked(tmp_path, "out"):
            pass
        process.kill()
        process.wait()
    with locked(tmp_path, "out"):
        pass


def test_two_trainings_into_one_folder(tmp_path, monkeypatch):
    words, fit = arguments(tmp_path / "run"), pipeline.fit

    def stopped(*given, **options):
        os.kill(os.getpid(), signal.SIGSTOP)
        return fit(*given, **options)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "fit", stopped)
        first = Forked(words)
    os.waitid(os.P_PID, first.pid, os.WSTOPPED)
    second = command(*words)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert second.stderr.startswith(f"error: out={tmp_path / 'run'} is in use")
    assert first.wait(200) == 0, first.stderr
    assert report(tmp_path / "run")["epochs"] == 2


@pytest.mark.parametrize("name", ["README.md", "config.json", "checkpoint/mine"])
def test_files_of_others_are_not_written_over(capsys, tmp_path, name):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    error = fails(capsys, *arguments(tmp_path / "run"))
    assert f"holds {name.partition('/')[0]}, which is of no run" in error
    assert path.read_text() == "mine"
    assert [p for p in (tmp_path / "run").rglob("*") if p.is_file()] == [path]


def test_two_trainings_without_out_take_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [w for w in arguments(tmp_path) if not w.startswith("out=")]
    with locked(tmp_path / "runs" / "classify-files", "out"):
        assert zoo.run.main(words) == 0
    assert (tmp_path / "runs" / "classify-files-2" / "manifest.json").is_file()
