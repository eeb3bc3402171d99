"""Atomic writes: a file is either complete or not there."""

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


def test_a_text_is_written_in_utf_8_into_folders_that_are_made(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    files.write_text(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
