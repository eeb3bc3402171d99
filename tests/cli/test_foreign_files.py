"""What others have put where a command would write stays as it is, byte by byte and in its place."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest
from conftest import DATA, arguments

import zoo.run
from zoo.bench import __main__ as bench
from zoo.evaluation import plots
from zoo.export import program
from zoo.hub import __main__ as hub

TEXT = "The tide carried our boat."


def snapshot(root: Path) -> dict:
    """Return kind, number, mode, time and contents of everything below a folder."""
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        info = path.lstat()
        contents = None
        if path.is_symlink():
            contents = os.readlink(path)
        elif stat.S_ISREG(info.st_mode):
            contents = path.read_bytes()
        kept = info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_nlink
        found[str(path.relative_to(root))] = (*kept, contents)
    return found


def training(place: str) -> int:
    words = [word for word in arguments(Path("x")) if not word.startswith("out=")]
    return zoo.run.main([*words, f"out={place}"])


def several(place: str) -> int:
    words = [word for word in arguments(Path("x")) if not word.startswith("out=")]
    return zoo.run.main(["-m", *words, f"out={place}", "train.epochs=1"])


def using(mode: str, *more: str):
    def command(place: str) -> int:
        data = ["data=files", f"data.train={DATA / 'classify.jsonl'}"]
        words = [f"mode={mode}", "model=model", *data, *more, f"out={place}"]
        return zoo.run.main(["device=cpu", "baseline=false", *words])

    return command


def predicting(place: str) -> int:
    given = ["mode=predict", "model=model", "input=rows.txt", f"output={place}", "device=cpu"]
    return zoo.run.main(given)


def pushing(*more: str):
    return lambda place: hub.main(["push", "model", place, *more])


def pulling(place: str) -> int:
    return hub.main(["pull", "model", place])


def exporting(*more: str):
    return lambda place: program.main(["model", place, *more])


def measuring(place: str) -> int:
    return bench.main(["classify", "--json", place])


def retraining(place: str) -> int:
    return hub.main(["retrain", "classify/imdb", "data.path=/nowhere", "--out", place])


EXPLAIN = using("explain", f"text={TEXT}")
EVALUATE = using("evaluate")
OVER = using("explain", f"text={TEXT}", "overwrite=true")
EVALUATE_OVER = using("evaluate", "overwrite=true")

# command, what it is given, the beginning of what it says
SITUATIONS = {
    "train: folder": (training, "mine", "out=mine: holds answer-1.png, which is of no run"),
    "train: working folder": (training, ".", "out=.: holds README.md, which is of no run"),
    "train: above": (training, "..", "out=..: holds "),
    "train: root": (training, "/", "out=/: holds "),
    "train: empty": (training, "", "out=: String should have at least 1 character"),
    "train: file": (training, "README.md", "out=README.md: is no folder"),
    "train: through a file": (training, "README.md/run", "README.md: Not a directory"),
    "train: pipe": (training, "pipe", "out=pipe: is no folder"),
    "train: device": (training, "/dev/null", "out=/dev/null: is no folder"),
    "train: link to a folder": (training, "link", "out=link: holds answer-1.png"),
    "train: link to a file": (training, "file-link", "out=file-link: is no folder"),
    "train: broken link": (training, "broken", "out=broken: a link to nothing"),
    "train: through a broken link": (training, "broken/run", "broken: a link to nothing"),
    "train: a checkpoint of others": (training, "other", "out=other: holds checkpoint"),
    "train: a file in a started run": (training, "begun", "out=begun: holds notes.txt"),
    "train: a file in its state": (training, "state", "out=state: holds checkpoint/notes.txt"),
    "train: a finished run": (training, "model", "out=model: holds a run already"),
    "train: hidden file": (training, "hidden", "out=hidden: holds .lock, which is of no run"),
    "train: marker that is a link": (training, "marked", "out=marked: "),
    "train: other system": (training, "/proc/none", "/proc/none: "),
    "train: name too long": (training, "x" * 300, f"{'x' * 300}: File name too long"),
    "several: file": (several, "README.md", None),
    "explain: picture": (EXPLAIN, "mine", "mine/gates.png: exists, and is no file of the zoo"),
    "explain: over it": (OVER, "mine", "mine/gates.png: exists, and is no file of the zoo"),
    "explain: own picture": (EXPLAIN, "drawn", "drawn/gates.png: exists already: choose another"),
    "explain: link": (OVER, "linked", "linked/gates.png: is no regular file"),
    "explain: file": (EXPLAIN, "README.md", "out=README.md: is no folder"),
    "evaluate: report": (EVALUATE, "mine", "mine/report.json: exists, and is no file of the zoo"),
    "evaluate: over it": (EVALUATE_OVER, "mine", "mine/report.json: exists, and is no file"),
    "evaluate: own report": (EVALUATE, "model", "model/report.json: exists already"),
    "predict: its input": (predicting, "rows.txt", "output=rows.txt is the input"),
    "predict: its input by a link": (predicting, "rows-link", "output=rows-link is the input"),
    "predict: its input by another name": (
        predicting,
        "rows-hard",
        "output=rows-hard is the input",
    ),
    "predict: folder": (predicting, "mine", "output=mine: is a folder"),
    "predict: broken link": (predicting, "broken", "output=broken: a link to nothing"),
    "predict: read-only": (predicting, "read-only", "output=read-only: is read-only"),
    "predict: through a file": (predicting, "README.md/x", "README.md"),
    "predict: empty": (predicting, "", "output=: String should have at least 1 character"),
    "push: folder": (pushing(), "mine", "mine: exists already, and holds answer-1.png"),
    "push: over it": (
        pushing("--overwrite"),
        "mine",
        "mine: exists already, and holds answer-1.png",
    ),
    "push: file": (pushing("--overwrite"), "README.md", "README.md: exists already, and is no"),
    "push: model": (pushing(), "pushed", "pushed: exists already: choose a folder"),
    "push: changed": (
        pushing("--overwrite"),
        "changed",
        "changed: exists already, and holds README",
    ),
    "push: pipe": (pushing("--overwrite"), "pipe", "pipe: exists already, and is no folder"),
    "push: broken link": (pushing("--overwrite"), "broken", "broken: exists already"),
    "pull: folder": (pulling, "mine", "mine: exists already, and holds answer-1.png"),
    "export: file": (exporting(), "x.onnx", "x.onnx: exists, and is no file of the zoo"),
    "export: over it": (
        exporting("--overwrite"),
        "x.pt2",
        "x.pt2: exists, and is no file of the zoo",
    ),
    "export: link": (exporting("--overwrite"), "link.onnx", "link.onnx: is no regular file"),
    "export: no folder": (exporting(), "none/x.onnx", "none/x.onnx: there is no folder none"),
    "bench: file": (measuring, "mine/report.json", "mine/report.json: exists, and is no file"),
    "retrain: folder": (retraining, "mine", "out=mine: holds "),
    "retrain: model": (retraining, "again", "again/model: exists already, and holds notes.txt"),
}


@pytest.fixture
def place(tmp_path, trained, monkeypatch):
    """A working folder full of things of others, and a trained model in `work/model`."""
    return furnish(tmp_path / "work", trained, monkeypatch)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, trained):
    """Such a folder, for commands that must leave it as it is: it is made once."""
    with pytest.MonkeyPatch.context() as patched:
        return furnish(tmp_path_factory.mktemp("untouched") / "work", trained, patched)


def furnish(work: Path, trained: Path, patched: pytest.MonkeyPatch) -> Path:
    """Fill a working folder; returns it."""
    shutil.copytree(trained, work / "model")
    for folder in ("mine", "other/checkpoint", "begun", "state/checkpoint", "hidden", "marked"):
        (work / folder).mkdir(parents=True)
    for folder in ("drawn", "linked", "again/model"):
        (work / folder).mkdir(parents=True)
    for name in ("README.md", "rows.txt", "x.onnx", "x.pt2", "read-only", "mine/gates.png"):
        (work / name).write_text(f"my {name}\n")
    for name in ("notes.txt", "report.json", "answer-1.png"):
        (work / "mine" / name).write_text(json.dumps({"mine": name}))
    for name in ("begun", "state/checkpoint", "other/checkpoint", "again/model"):
        (work / name / "notes.txt").write_text("mine")
    for name in ("begun", "state"):
        (work / name / ".zoo-run").write_text("")
    (work / "hidden" / ".lock").write_text("of another program")
    (work / "marked" / ".zoo-run").symlink_to("../README.md")
    (work / "linked" / "gates.png").symlink_to("../README.md")
    (work / "read-only").chmod(0o444)
    os.link(work / "rows.txt", work / "rows-hard")
    links = {"link": "mine", "file-link": "README.md", "broken": "nowhere/at/all"}
    for name, target in (links | {"rows-link": "rows.txt", "link.onnx": "README.md"}).items():
        (work / name).symlink_to(target)
    os.mkfifo(work / "pipe")
    patched.chdir(work)
    for name in ("pushed", "changed"):
        assert hub.main(["push", "model", name]) == 0
    (work / "changed" / "README.md").write_text("my notes on it")
    history = [{"epoch": 1, "loss": 1.0, "valid": {"loss": 1.0, "accuracy": 0.5}}]
    plots.learning_curve(history, "accuracy", work / "drawn")
    (work / "drawn" / "learning_curve.png").rename(work / "drawn" / "gates.png")
    return work


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_of_others_stays_as_it_is(untouched, monkeypatch, capsys, name):
    command, given, said = SITUATIONS[name]
    monkeypatch.chdir(untouched)
    before = snapshot(untouched.parent)
    capsys.readouterr()
    status = command(given)
    printed = capsys.readouterr()
    assert status == 2
    assert snapshot(untouched.parent) == before
    if said is not None:
        assert printed.err.count("\n") == 1
        assert printed.err.startswith(f"error: {said}")


def test_own_files_are_replaced_when_asked(place, capsys):
    assert OVER("drawn") == 0
    assert EVALUATE("reports") == 0
    assert EVALUATE("reports") == 2
    assert EVALUATE_OVER("reports") == 0
    assert pushing("--overwrite")("pushed") == 0
    for name in ("new.onnx", "new.pt2"):
        assert exporting()(name) == 0
        assert exporting()(name) == 2
        assert exporting("--overwrite")(name) == 0
    assert capsys.readouterr().err.count("exists already: choose another name") == 3


def test_a_run_is_never_overwritten(place, capsys):
    words = ["overwrite=true", *arguments(Path("model"))]
    assert zoo.run.main(words) == 2
    assert "overwrite=true is for pictures and reports" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pipe", "to-pipe"])
def test_an_answer_goes_through_a_pipe(place, name):
    (place / "to-pipe").symlink_to("pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((place / "pipe").read_text()))
    reader.start()
    assert predicting(name) == 0
    reader.join(20)
    assert read[0].split() in (["sea"], ["mountain"])
    assert stat.S_ISFIFO((place / "pipe").stat().st_mode)
    assert (place / "to-pipe").is_symlink()


def test_an_answer_goes_into_a_device_and_behind_a_link(place):
    before = os.stat("/dev/null").st_rdev
    assert predicting("/dev/null") == 0
    assert os.stat("/dev/null").st_rdev == before
    (place / "answers-link").symlink_to("answers.txt")
    (place / "answers.txt").write_text("old")
    assert predicting("answers-link") == 0
    assert (place / "answers-link").is_symlink()
    assert (place / "answers.txt").read_text().split() in (["sea"], ["mountain"])


def test_an_answer_goes_to_what_standard_output_is(place, monkeypatch):
    with open(place / "out.txt", "w+b") as file:
        number = f"/dev/fd/{file.fileno()}"
        inode = os.fstat(file.fileno()).st_ino
        assert predicting(number) == 0
        assert (place / "out.txt").stat().st_ino == inode
        assert (place / "out.txt").read_text().split() in (["sea"], ["mountain"])


@pytest.mark.parametrize("kind", ["new", "empty", "link", "killed", "earlier"])
def test_a_folder_that_holds_nothing_of_others_is_used(place, kind):
    run = place / "run"
    if kind != "new":
        run.mkdir()
    if kind == "link":
        run.rename(place / "real")
        run.symlink_to("real")
    if kind == "killed":
        (run / ".zoo-run").write_text("")
        (run / "metrics.jsonl").write_text("{}\n")
        (run / ".config.json.77.part").write_text("{")
    if kind in ("killed", "earlier"):
        encoded = run / "checkpoint" / "encoded-0" / "train"
        encoded.mkdir(parents=True)
        for name in ("inputs.bin", "inputs.ends", "fields.json"):
            (encoded / name).write_text("")
        for name in ("settings.json", "processors.json", "tokenizer.json"):
            (run / "checkpoint" / name).write_text('{"tokenizer": "words"}')
    if kind == "earlier":
        (run / ".lock").write_text("")
    assert training("run") == 0
    assert sorted(path.name for path in run.glob(".*")) == [".zoo-run"]
    assert not (run / "checkpoint").exists()
    assert run.is_symlink() == (kind == "link")


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs another file system")
def test_another_file_system_is_as_good(place):
    folder = Path(f"/dev/shm/zoo-test-{os.getpid()}")
    folder.mkdir()
    try:
        assert pushing()(str(folder / "model")) == 0
        assert predicting(str(folder / "answers.txt")) == 0
        assert exporting()(str(folder / "x.onnx")) == 0
        assert training(str(folder / "run")) == 0
        names = {path.name for path in folder.iterdir()}
        assert names == {"model", "answers.txt", "x.onnx", "run"}
    finally:
        shutil.rmtree(folder)


def test_what_fails_takes_nothing_of_others_with_it(place, monkeypatch):
    """A file that is put into a run's folder while it runs stays there when the run fails."""

    def fail(*_: object, **__: object) -> None:
        (place / "run" / "mine.txt").write_text("mine")
        (place / "run" / "checkpoint" / "mine.txt").write_text("mine")
        raise zoo.run.InputError("planted")

    monkeypatch.setattr("zoo.training.pipeline.fit", fail)
    assert training("run") == 2
    left = {str(p.relative_to(place / "run")) for p in (place / "run").rglob("*") if p.is_file()}
    assert left == {".zoo-run", "mine.txt", "checkpoint/mine.txt"}
