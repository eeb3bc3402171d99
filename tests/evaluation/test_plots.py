"""The picture of the gates: what is drawn where, for any token and any length."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from zoo.evaluation import plots


def drawn(tmp_path, monkeypatch, tokens, names=("l0",), hidden=4):
    """The figure of random gates over the tokens, the gates, and the file."""
    figures = []
    made = plots._figure

    def keep(*sizes):
        figures.append(made(*sizes))
        return figures[-1]

    monkeypatch.setattr(plots, "_figure", keep)
    numbers = np.random.default_rng(0)
    values = [numbers.uniform(0, 1, (len(names), len(tokens), hidden)) for _ in range(5)]
    path = plots.gates(tokens, values, names, tmp_path)
    [(figure, _)] = figures
    return figure, values, path


def size(path):
    """Width and height of a PNG file, in pixels."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


@pytest.mark.parametrize("names", [["l0"], ["l0", "l0 reverse", "l1"]], ids=len)
def test_a_row_is_a_unit_that_forgets_least_at_the_top_and_a_column_a_token(
    tmp_path, monkeypatch, names
):
    figure, values, path = drawn(tmp_path, monkeypatch, ["ab", "c", "d"], names)
    assert path == tmp_path / "gates.png"
    pictured = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert len(pictured) == 5 * len(names)
    places = itertools.product(enumerate(plots.GATES), enumerate(names))
    for axes, ((row, gate), (column, name)) in zip(pictured, places, strict=True):
        order = np.argsort(-values[1][column].mean(0))
        wanted = values[row][column][:, order].T  # (hidden, time)
        np.testing.assert_array_equal(axes.images[0].get_array(), wanted)
        assert axes.get_title().startswith(f"{name}: {gate}, ")
        labels = [label.get_text() for label in axes.get_xticklabels()]
        assert labels == (["ab", "c", "d"] if gate == "c" else [])
        low, high = axes.images[0].get_clim()
        assert (low, high) == ((-high, high) if gate in "gc" else (0, 1))


LABELS = {
    "plain": "plain", "": "", " ": " ", "naïve": "naïve", "日本": r"\u65e5\u672c", "_{^": "_{^",
    "日本語": r"\u65e5\u672…", "😀": r"\u1f600", "$": r"\$", "$x^2$": r"\$x^2\$", "$$": r"\$\$",
    "x" * 50: "x" * 11 + "…", "\xa0": r"\u00a0",
}  # fmt: skip


@pytest.mark.parametrize("labels", [LABELS, {"\t": r"\u0009", "\x85": r"\u0085"}], ids=len)
def test_any_token_is_drawn_without_a_warning(tmp_path, monkeypatch, labels):
    figure, _, path = drawn(tmp_path, monkeypatch, [*labels])
    last = next(axes for axes in figure.axes if axes.get_title().startswith("l0: c"))
    assert [text.get_text() for text in last.get_xticklabels()] == [*labels.values()]
    assert min(size(path)) > 100


@pytest.mark.parametrize("count", [1, 60, 200])
def test_a_long_text_is_drawn_in_part(tmp_path, monkeypatch, count):
    tokens = [f"token{i}" for i in range(count)]
    figure, values, path = drawn(tmp_path, monkeypatch, tokens, ["l0", "l0 reverse"])
    shown = min(count, plots.TOKENS)
    images = [axes.images[0].get_array() for axes in figure.axes if axes.get_title()]
    assert {image.shape for image in images} == {(4, shown)}
    assert {
        label.get_text()
        for axes in figure.axes
        if axes.get_title().startswith("l0: c")
        for label in axes.get_xticklabels()
    } == {*tokens[:shown]}
    order = np.argsort(-values[1][0, :shown].mean(0))  # by the shown tokens alone
    np.testing.assert_array_equal(images[2], values[1][0, :shown, order])
    width, height = size(path)
    assert (width, height) == (pytest.approx(2 * 120 * max(3.2, 1.5 + 0.24 * shown), abs=2), 1320)


@pytest.mark.parametrize(
    "count",
    [1, 3, 8],
)
def test_titles_do_not_overlap(tmp_path, monkeypatch, count):
    figure, _, _ = drawn(tmp_path, monkeypatch, ["word"] * count, ["l0", "l0 reverse"])
    axes = [each for each in figure.axes if each.get_title()]
    for left, right in zip(axes[::2], axes[1::2], strict=True):
        assert left.title.get_window_extent().x0 >= 0
        assert left.title.get_window_extent().x1 <= right.title.get_window_extent().x0


def test_of_many_labels_the_most_confused_are_drawn(tmp_path):
    labels = [f"L{n:03}" for n in range(300)]
    truth = [label for label in labels for _ in range(3)]
    found = [*truth]
    found[297:300] = ["L200"] * 3  # of L099
    found[0] = "L299"
    shown = plots.confusion(truth, found, labels, tmp_path)
    assert len(shown["labels"]) == len(shown["counts"]) == plots.MOST_LABELS
    places = {label: number for number, label in enumerate(shown["labels"])}
    assert shown["counts"][places["L099"]][places["L200"]] == 3
    assert shown["counts"][places["L000"]][places["L299"]] == 1
    width, height = size(tmp_path / "confusion.png")
    assert max(width, height) < 3000
    few = plots.confusion(["a", "b", "b"], ["a", "a", "b"], ["a", "b"], tmp_path)
    assert few == {"labels": ["a", "b"], "counts": [[1, 0], [1, 1]]}
