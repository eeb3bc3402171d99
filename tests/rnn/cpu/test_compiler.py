"""Which C compiler is taken, what is kept, and what is said where none works."""

from __future__ import annotations

import sys

import pytest

from zoo.rnn.cpu import compiler


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty cache of the user's, and nothing loaded from it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler.load.cache_clear()
    yield tmp_path / "sequence-zoo"
    compiler.load.cache_clear()


def test_the_compiler_that_is_named_comes_first(monkeypatch, tmp_path):
    own = tmp_path / "mycc"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("CC", f"{own} -m64")
    assert compiler.compilers()[0] == [str(own), "-m64"]
    monkeypatch.setenv("CC", "no-such-compiler")
    assert ["no-such-compiler"] not in compiler.compilers()


def test_the_compiler_of_a_wheel_is_found(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    assert compiler.compilers() == []
    monkeypatch.setattr(compiler, "find_spec", lambda name: name == "ziglang")
    assert compiler.compilers() == [[sys.executable, "-m", "ziglang", "cc"]]


@pytest.mark.skipif(not compiler.compilers(), reason="no C compiler")
def test_what_is_compiled_is_kept_and_read_again(monkeypatch, folder, caplog):
    caplog.set_level("INFO", "zoo")
    assert compiler.load() is not None
    assert [path.suffix for path in folder.iterdir()] == [".so"]  # nothing else is left behind
    assert "compiled the LSTM's steps" in caplog.text
    monkeypatch.setattr(compiler, "_run", None)
    compiler.load.cache_clear()
    assert compiler.load() is not None


def test_a_compiler_that_fails_leaves_nothing_and_is_told(monkeypatch, folder, caplog, tmp_path):
    bad = tmp_path / "badcc"
    bad.write_text("#!/bin/sh\necho no such option >&2\nexit 1\n")
    bad.chmod(0o755)
    monkeypatch.setattr(compiler, "compilers", lambda: [[str(bad)]])
    caplog.set_level("INFO", "zoo")
    assert compiler.load() is None
    assert list(folder.iterdir()) == []
    assert "run in Python, lstm.c did not compile: no such option" in caplog.text


def test_without_a_compiler_nothing_is_said(monkeypatch, folder, caplog):
    monkeypatch.setattr(compiler, "compilers", list)
    caplog.set_level("INFO", "zoo")
    assert compiler.load() is None
    assert not caplog.text


def test_a_file_that_is_no_library_is_not_used(monkeypatch, folder, caplog):
    path = compiler.library_path()
    path.parent.mkdir()
    path.write_bytes(b"not a library")
    assert compiler.load() is None
    assert "the LSTM's steps run in Python" in caplog.text


def test_a_user_without_a_home_has_the_loop(monkeypatch, folder):
    def fail():
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(compiler.Path, "home", fail)
    assert compiler.load() is None


def test_a_cache_that_cannot_be_written_to_is_told(monkeypatch, tmp_path, caplog):
    (tmp_path / "sequence-zoo").write_text("a file in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiler, "compilers", lambda: [["cc"]])
    compiler.load.cache_clear()
    caplog.set_level("INFO", "zoo")
    try:
        assert compiler.load() is None
    finally:
        compiler.load.cache_clear()
    assert "run in Python" in caplog.text
