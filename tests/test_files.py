"""Files that are whole or not there."""

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
