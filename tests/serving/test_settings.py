"""What mode=serve says before it starts: one line with the cure."""

from __future__ import annotations

import socket

import pytest
from conftest import fails

from zoo import config
from zoo.errors import InputError
from zoo.serving.server import names

MODEL = "model=classify/langid"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["serve"], "mode=serve needs model=DIR"),
        (["serve", MODEL, "port=x"], "serve.port=x: Input should be a valid integer"),
        (["serve", MODEL, "serve.prot=1"], "serve.prot: no such setting; did you mean serve.port?"),
        (["serve", MODEL, "train.epochs=3"], "train.epochs=…: mode=serve does not use it"),
        (["serve", MODEL, "generation.seed=3"], "generation.seed=…: a request says how"),
        (["predict", MODEL, "port=1"], "serve.…, host=…, port=…: mode=predict serves nothing"),
        (["serve", f"{MODEL},classify/imbd", "port=0"], "classify/imbd: "),
        (["serve", MODEL, "host=no.such.name.invalid"], "serve.host=no.such.name.invalid"),
    ],
)
def test_a_wrong_setting_is_one_line(capsys, words, line):
    assert fails(capsys, *words).startswith(line)


def test_a_port_that_is_taken_is_named(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = fails(capsys, "serve", MODEL, f"port={port}")
    assert found.startswith(f"serve.host=127.0.0.1 serve.port={port}: Address already in use")


def test_a_missing_package_is_named_with_its_extra(capsys, monkeypatch):
    monkeypatch.setattr(config, "find_spec", lambda name: None if name == "uvicorn" else name)
    found = fails(capsys, "serve", MODEL)
    assert found == "mode=serve needs the package uvicorn: pip install 'sequence-zoo[serve]'"


def test_several_models_are_named_with_commas(tmp_path):
    assert names("a/b, c") == ["a/b", "c"]
    folder = tmp_path / "one,two"
    folder.mkdir()
    assert names(str(folder)) == [str(folder)]
    for wrong in ("a,,b", "a,", "a,b,a"):
        with pytest.raises(InputError, match=r"^model=a,"):
            names(wrong)
