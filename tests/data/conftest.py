"""Fixtures that write the files of a test."""

from __future__ import annotations

import csv
import gzip

import pytest


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a file into the working folder, gzip'ed where the name says so."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        data = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return name

    return write


@pytest.fixture
def table(write):
    """A function that writes rows of text and label as a csv file."""

    def table(name, rows, header=("text", "label")):
        write(name, "")
        with open(name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
        return name

    return table
