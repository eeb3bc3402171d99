"""What a killed process left is removed by the next command; files of others stay."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from conftest import resume, same, train
from every_task import TASKS, untrained

import zoo
import zoo.run
from zoo.errors import InputError
from zoo.files.run_folder import MARKER, SUFFIXES, check_free, locked, remove_all
from zoo.training import pipeline
from zoo.training.resume import folder as run_folder
from zoo.training.resume.cleaning import clean


@pytest.fixture
def ended():
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_half_written_files_of_a_process_that_ended_are_removed(tmp_path, trained, ended):
    folder = shutil.copytree(trained, tmp_path / "run")
    left = [f".report.json.{ended}.part", f"resume/.next.pt.{ended}.part"]
    left += [f".model.safetensors.{ended}.part", f".tokenizer.json.{ended}.part"]
    left += [f".learning_curve.png.{ended}.part", f".trials.jsonl.{ended}.part"]
    stay = [f".report.json.{os.getpid()}.part", f".mine.txt.{ended}.part", ".report.json.part"]
    stay += ["notes.part", f"resume/{ended}.part"]
    before = set(folder.rglob("*"))
    for name in (*left, *stay):
        (folder / name).write_text("x")
    assert zoo.run.main(["predict", f"model={folder}", "text=the sea"]) == 0
    assert set(folder.rglob("*")) == before | {folder / name for name in stay}


def test_nothing_is_removed_while_another_process_holds_the_folder(tmp_path, trained, ended):
    """On another machine it may have a number that no process has here."""
    folder = shutil.copytree(trained, tmp_path / "run")
    part = folder / f".report.json.{ended}.part"
    part.write_text("x")
    with locked(folder, "out"):
        clean(folder)
        with pytest.raises(InputError, match="is in use"):
            zoo.train(f"resume={folder}", "train.epochs=30")
        assert part.exists()
    with pytest.raises(InputError, match="is finished"):
        zoo.train(f"resume={folder}")
    assert not part.exists()


def test_a_folder_of_no_run_is_left_alone(tmp_path, ended):
    part = tmp_path / f".report.json.{ended}.part"
    part.write_text("x")
    clean(tmp_path)
    with pytest.raises(InputError):
        zoo.train(f"resume={tmp_path}")
    assert [*tmp_path.iterdir()] == [part]


def test_the_clean_up_of_a_finished_run_is_ended(tmp_path, monkeypatch, ended):
    """A process is killed while it removes what is no longer needed."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(run_folder.os, "getpid", lambda: ended)
        patched.setattr(pipeline, "finish", lambda folder: None)
        train(folder)
        (folder / "checkpoint" / run_folder.FINISHED).write_text(f"{ended}\n")
    (folder / "checkpoint" / "mine.txt").write_text("precious")
    clean(folder)
    assert not (folder / "checkpoint").exists()
    assert not [*folder.glob("resume/encoded-*")]
    assert (folder / "resume" / "mine.txt").read_text() == "precious"
    zoo.train(f"resume={folder}", "train.epochs=3")
    assert (folder / "resume" / "checkpoint.pt").is_file()


def test_a_run_that_is_not_finished_is_left_alone(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "finish", lambda folder: None)
        train(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    clean(folder)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (folder / "checkpoint" / run_folder.FINISHED).write_text(f"{os.getpid()}\n")  # it still runs
    clean(folder)
    assert (folder / "checkpoint").is_dir()
    resume(folder)
    train(tmp_path / "whole")
    assert same(folder, tmp_path / "whole")
    assert not (folder / "checkpoint").exists()


@pytest.mark.parametrize("task", TASKS)
def test_what_a_run_has_learned_before_it_was_killed_is_known_as_its_own(
    tmp_path, monkeypatch, task
):
    state = tmp_path / "checkpoint"
    state.mkdir()
    (tmp_path / MARKER).touch()
    learned = untrained(task).processors
    assert {each.suffix for each in learned.values()} <= {*SUFFIXES}
    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "save_processors", crash)
        with pytest.raises(KeyboardInterrupt):
            run_folder.save_learned(learned, state)
    check_free(tmp_path)
    run_folder.save_learned(learned, state)
    check_free(tmp_path)
    remove_all(tmp_path)
    assert [*tmp_path.iterdir()] == [tmp_path / MARKER]


def crash(processors, folder):
    """Write the first processor and end."""
    name, first = next(iter(processors.items()))
    first.save(folder / f"{name}{first.suffix}")
    raise KeyboardInterrupt
