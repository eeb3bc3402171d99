"""The picture of the gates: what is drawn where, for any token and any length."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from matplotlib import image

from zoo.evaluation import plots
from zoo.evaluation.forecast import pictures


def drawn(tmp_path, monkeypatch, tokens, names=("l0",), hidden=4):
    """The figure of random gates over the tokens, the gates, and the file."""
    figures = []
    made = plots.new_grid

    def keep(*sizes):
        figures.append(made(*sizes))
        return figures[-1]

    monkeypatch.setattr(plots, "new_grid", keep)
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
    lines = [axes for axes in figure.axes if axes.get_title().endswith(": mean of i, f, o")]
    for axes, column in zip(lines, range(len(names)), strict=True):
        for line, gate in zip(axes.lines, (0, 1, 3), strict=True):
            np.testing.assert_allclose(line.get_ydata(), values[gate][column].mean(1))
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


FONTS = plots._fonts
LABELS = {
    "plain": "plain", "": "", " ": " ", "naïve": "naïve", "日本": "日本", "_{^": "_{^",
    "$": r"\$", "$x^2$": r"\$x^2\$", "$$": r"\$\$", "x" * 50: "xxxxxxx…xxxx", "\xa0": " ",
    "Ελλάδα": "Ελλάδα", "a\nb": "a↵b",
}  # fmt: skip


@pytest.fixture(autouse=True)
def every_character(monkeypatch):
    """Machines differ in their fonts: here matplotlib's own one seems to have all characters."""
    monkeypatch.setattr(plots, "_fonts", lambda: {plots.PLAIN: range(1 << 21)})
    warnings.filterwarnings("ignore", "Glyph", UserWarning)


@pytest.mark.parametrize("labels", [LABELS, {"\t": "→", "\x85": " "}], ids=len)
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
    images = [a.images[0].get_array() for a in figure.axes if a.images and a.get_title()]
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
    wide = 2 * 120 * max(3.2, 1.5 + 0.24 * shown)
    assert (width, height) == (pytest.approx(wide, abs=30), pytest.approx(1560, abs=30))


@pytest.mark.parametrize(
    "count",
    [1, 3, 8],
)
def test_titles_do_not_overlap(tmp_path, monkeypatch, count):
    figure, _, _ = drawn(tmp_path, monkeypatch, ["word"] * count, ["l0", "l0 reverse"])
    axes = [each for each in figure.axes if each.get_title()]
    assert len(axes) == 12
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
    assert max(width, height) < 120 * (2.5 + 1 + 0.17 * plots.DRAWN_LABELS) + 2
    drawn = plots._most_confused(truth, found, plots.DRAWN_LABELS)
    assert len(drawn) == plots.DRAWN_LABELS
    assert {"L099", "L200", "L000", "L299"} <= {*drawn}
    few = plots.confusion(["a", "b", "b"], ["a", "a", "b"], ["a", "b"], tmp_path)
    assert few == {"labels": ["a", "b"], "counts": [[1, 0], [1, 1]]}


def test_nothing_is_cut_at_the_edges(tmp_path):
    labels = ["one", "two", "three"]
    plots.confusion(labels, labels, labels, tmp_path)
    plots.gates(["a", "b"], [np.zeros((1, 2, 4))] * 5, ["l0"], tmp_path)
    for name in ("confusion.png", "gates.png"):
        pixels = image.imread(tmp_path / name)[..., :3]
        edges = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
        assert all((edge == 1).all() for edge in edges)


def test_a_long_label_loses_its_middle(tmp_path):
    assert plots.drawable("technical support 17", 12) == "technic…t 17"
    assert plots.drawable("twelve chars", 12) == "twelve chars"
    values = np.arange(3.0)
    path = tmp_path / "forecast.png"
    pictures.example(path, values, None, values, None, "", {}, r"paid in $\nothing$")
    assert path.exists()


def test_each_character_is_drawn_in_a_font_that_has_it(monkeypatch):
    fonts = {plots.PLAIN: {*map(ord, "abc")}, "Han": {*map(ord, "年月")}, "Few": {ord("語")}}
    monkeypatch.setattr(plots, "_fonts", lambda: fonts)
    assert plots.fonts_for("a b") == ([plots.PLAIN], set())
    assert plots.fonts_for("年月a") == ([plots.PLAIN, "Han"], set())
    assert plots.fonts_for("年語ก") == ([plots.PLAIN, "Han", "Few"], {"ก"})


def test_a_character_that_no_font_has_is_a_dot_and_one_line_says_what_to_install(
    monkeypatch, tmp_path, caplog
):
    monkeypatch.setattr(plots, "_fonts", lambda: {plots.PLAIN: {*range(0x20, 0x250), 0xB7}})
    plots._advise.cache_clear()
    for _ in range(2):
        figure, axes = plots.new_axes(2, 1)
        text = axes.set_title("2031年 Gulls ก")
        plots.save_figure(figure, tmp_path / "a.png")
        assert text.get_text() == "2031· Gulls ·"
        assert plots.drawable("年") == "·"
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition("apt-get install ")[2] for line in lines] == [
        "fonts-noto-cjk fonts-noto-core",
        "fonts-noto-cjk",
    ]


def test_the_fonts_of_this_machine_are_read():
    assert {*map(ord, "aéЖΩ")} <= FONTS()[plots.PLAIN]


def test_the_best_epoch_is_marked(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    history = [
        {"epoch": n, "loss": 1 / n, "valid": {"loss": 1 / n, "accuracy": share}}
        for n, share in ((1, 0.5), (2, 0.875), (3, 0.75))
    ]
    plots.learning_curve(history, "accuracy", tmp_path, 2)
    labels = [text.get_text() for text in figures[0].legends[0].texts]
    assert labels[-1] == "best epoch: 2, accuracy 0.875"
    marked = figures[0].axes[1].lines[-1]
    assert (*marked.get_xdata(), *marked.get_ydata()) == (2, 0.875)


@pytest.mark.parametrize(
    ("shares", "highest"),
    [((1.0, 1.0, 1.0), 1), ((0.5, 0.9, 1.0), 1), ((0.9, 0.99, 0.999), 1), ((0.1, 0.35, 0.2), 0.35)],
)
def test_the_axis_of_shares_has_no_tick_beyond_one(tmp_path, monkeypatch, shares, highest):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    history = [{"epoch": n, "loss": 1.0, "valid": {"f1": share}} for n, share in enumerate(shares)]
    plots.learning_curve(history, "f1", tmp_path, int(np.argmax(shares)))
    axes = figures[0].axes[1]
    low, high = axes.get_ylim()
    figures[0].canvas.draw()
    assert low < min(shares) <= max(shares) < high < 1.03  # the last point is drawn whole
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    assert max(ticks) == pytest.approx(highest)
    assert len(ticks) >= 3


def test_the_axis_of_other_metrics_is_left_as_it_is(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    history = [{"epoch": n, "loss": 1.0, "valid": {"mae": 1.0 + n / 100}} for n in range(3)]
    plots.learning_curve(history, "mae", tmp_path, 1)
    assert max(figures[0].axes[1].get_yticks()) > 1.015


def test_single_characters_stand_upright_and_words_do_not():
    _, axes = plots.new_axes(3, 2)
    plots.name_steps(axes, ["包", "裹", "x"])
    assert [label.get_rotation() for label in axes.get_xticklabels()] == [0, 0, 0]
    plots.name_steps(axes, ["包裹", "x"])
    assert [label.get_rotation() for label in axes.get_xticklabels()] == [90, 90]
