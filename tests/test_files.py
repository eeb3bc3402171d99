"""Atomic writes: a file is either complete or not there."""

import os

import pytest

from zoo import files


def test_an_atomic_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "file"
    files.write_text(path, "old")

    def fail():
        with files.atomic(path) as file:
            file.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_another(tmp_path, monkeypatch):
    calls, sync, replace = [], os.fsync, os.replace

    def note_sync(handle):
        calls.append(("sync", os.fstat(handle).st_size))
        sync(handle)

    def note_replace(source, target):
        calls.append(("replace", target))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    path = tmp_path / "file"
    files.write_text(path, "whole")
    assert calls[:2] == [("sync", 5), ("replace", path)]
    assert path.read_text() == "whole"


def test_a_text_is_written_in_utf_8_into_folders_that_are_made(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    files.write_text(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
