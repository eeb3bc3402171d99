"""The costs of growing work are measured at growing sizes, and drawn."""

from __future__ import annotations

import json

import pytest

from zoo.bench.__main__ import main
from zoo.bench.costs import grow


def test_each_line_has_a_time_for_each_size_and_the_slopes_between(tmp_path, monkeypatch, capsys):
    asked = []

    def measure(size, settings, seconds):
        asked.append((size, [*settings], seconds(lambda: None) >= 0))
        return size**2 / 10

    lines = [grow.Line(panel, "a step", [1, 10, 100], measure) for panel in ("units", "labels")]
    monkeypatch.setattr(grow, "LINES", lines)
    figure, written = tmp_path / "costs.png", tmp_path / "costs.json"
    given = ["costs", "threads=1", f"figure={figure}", "--json", str(written)]
    assert main(given) == 0
    assert asked == [(size, ["threads=1"], True) for _ in lines for size in (1, 10, 100)]
    case = json.loads(written.read_text())["cases"][0]
    assert case["seconds"] == [0.1, 10, 1000]
    assert case["slopes"] == [2, 2]
    assert "units: a step: 1 0.1000, 10 10.0000, 100 1000.0000 s; slopes 2.0, 2.0" in (
        capsys.readouterr().out
    )
    assert figure.read_bytes().startswith(b"\x89PNG")
    asked.clear()
    assert main([*given[:2], "most=0.1"]) == 0
    assert [size for size, *_ in asked] == [1, 10] * 2


@pytest.mark.parametrize("line", [grow.LINES[1], grow.LINES[5], grow.LINES[7], grow.LINES[10]])
def test_a_line_times_real_work(line):
    times = []
    small = ["backbone.hidden_size=8", "backbone.embedding_size=8", "backbone.num_layers=1"]
    line.measure(3, small, lambda work: times.append(work()) or 0.5)
    assert len(times) == 1


@pytest.mark.parametrize("most", ["0", "2", "x"])
def test_a_wrong_factor_is_one_line(capsys, most):
    assert main(["costs", f"most={most}"]) == 2
    said = capsys.readouterr().err
    assert said == f"error: most={most}: give a factor above 0 and at most 1\n"
