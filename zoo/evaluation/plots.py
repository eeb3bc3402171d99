"""Plots of a run, written to files. matplotlib is imported only inside the functions."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from zoo.evaluation.metrics import numbered
from zoo.files import atomic
from zoo.files.own_files import PROGRAM
from zoo.messages import _

log = logging.getLogger("zoo")

TOKENS = 60  # tokens of a text that a plot shows
GATES = {
    "i": "input gate",
    "f": "forget gate",
    "g": "cell candidate",
    "o": "output gate",
    "c": "cell state",
}
GRU_GATES = {"r": "reset gate", "z": "update gate", "n": "new: the candidate", "h": "hidden state"}
CELLS = 12  # a confusion matrix of more labels has no numbers in its cells
MOST_LABELS = 100  # of a confusion matrix
DRAWN_LABELS = 30  # of its picture
PLAIN = "DejaVu Sans"  # matplotlib's own font
MARGIN = 0.04  # above 1, as a share of the height of an axis of shares
UNDRAWABLE = "·"  # for a character that no font of the machine has
NO_TEXT = "Last Resort", "Emoji"  # parts of names of fonts that draw no text
# The packages of Debian and Ubuntu with fonts, by the beginnings of the characters' Unicode names.
PACKAGES: dict[tuple[str, ...], str] = {
    (
        "CJK",
        "HIRAGANA",
        "KATAKANA",
        "HANGUL",
        "IDEOGRAPHIC",
        "FULLWIDTH",
        "HALFWIDTH",
        "BOPOMOFO",
    ): ("fonts-noto-cjk"),
    ("",): "fonts-noto-core",
}


def new_axes(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure, its size in inches, and its axes."""
    figure, axes = new_grid(width, height, 1, 1)
    return figure, axes[0, 0]


def new_grid(width: float, height: float, rows: int, columns: int) -> tuple[Any, Any]:
    """Return a figure, its size in inches, and its axes (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Any, path: Path) -> None:
    """Write a picture; it is there when it is complete, and names the zoo as its program.

    Each character is drawn in a font of the machine that has it. Where none has it, a dot stands in
    its place, and the log says what to install.
    """
    _choose_fonts(figure)
    with atomic(path) as file:
        # Tight: the constrained layout cuts labels off beside axes of a fixed shape.
        figure.savefig(
            file, format="png", bbox_inches="tight", pad_inches=0.1, metadata={"Software": PROGRAM}
        )


def _choose_fonts(figure: Any) -> None:
    """Give all texts of a figure the fonts that their characters need."""
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if text.get_text()]
    families, missing = fonts_for({*chain.from_iterable(text.get_text() for text in texts)})
    for text in texts:
        text.set_fontfamily(families)
        if missing & {*text.get_text()}:
            text.set_text(_without_missing(text.get_text()))


def _without_missing(text: str) -> str:
    """Return a text with UNDRAWABLE in the place of characters that no font of the machine has."""
    if text.isascii():
        return text
    missing = fonts_for({*text})[1]
    if missing:
        names = [unicodedata.name(c, "") for c in missing]
        found = {next(p for start, p in PACKAGES.items() if n.startswith(start)) for n in names}
        _advise(" ".join(sorted(found)))
    return "".join(UNDRAWABLE if c in missing else c for c in text)


def fonts_for(characters: Iterable[str]) -> tuple[list[str], set[str]]:
    """Return the font families that draw the characters, the first first, and those none has."""
    known = _fonts()
    missing = {c for c in characters if not c.isspace() and ord(c) not in known.get(PLAIN, ())}
    families = [PLAIN]
    while missing:
        codes = {*map(ord, missing)}
        best = max(known, key=lambda name: (len(codes & known[name]), name.endswith(" JP")))
        found = {c for c in missing if ord(c) in known[best]}
        if not found:
            break
        families.append(best)
        missing -= found
    return families, missing


@lru_cache(maxsize=1)
def _fonts() -> dict[str, frozenset[int]]:
    """Return the upright fonts of the machine with the code points that each has."""
    from matplotlib import font_manager

    found: dict[str, frozenset[int]] = {}
    listed = {font.fname for font in font_manager.fontManager.ttflist}
    for path in {*font_manager.findSystemFonts()} - listed:  # installed since the list was stored
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError, ValueError):
            continue
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.name, font.fname)):
        weight = font.weight
        if isinstance(weight, str):
            weight = font_manager.weight_dict.get(weight, 400)
        plain = font.style == "normal" and 300 <= weight <= 500
        if font.name in found or not plain or any(part in font.name for part in NO_TEXT):
            continue
        try:
            found[font.name] = frozenset(font_manager.get_font(font.fname).get_charmap())
        except (OSError, RuntimeError, ValueError):  # a file that is gone, or no font
            continue
    return found


@lru_cache(maxsize=8)
def _advise(packages: str) -> None:
    """Say once what to install for characters that no font of the machine has."""
    said = _(
        "a picture shows {sign} for each character that no font of this machine has; "
        "for example: apt-get install {packages}",
        sign=UNDRAWABLE,
        packages=packages,
    )
    log.warning("%s", said)


def learning_curve(
    history: Sequence[dict[str, Any]], metric: str, folder: Path, best: int | None = None
) -> None:
    """Write learning_curve.png: losses on the left axis, the validation metric on the right.

    `best` is the number of the best epoch, whose weights are kept; it is marked.
    """
    figure, axes = new_axes(7, 4)
    epochs = [entry["epoch"] for entry in history]
    axes.plot(epochs, [entry["loss"] for entry in history], "o-", label="training loss")
    if "loss" in history[0]["valid"]:
        losses = [entry["valid"]["loss"] for entry in history]
        axes.plot(epochs, losses, "s--", label="validation loss")
    axes.set(xlabel="epoch", ylabel="loss", xticks=epochs[:: max(1, len(epochs) // 12)])
    right = axes.twinx()
    values = [entry["valid"][metric] for entry in history]
    right.plot(epochs, values, "^:", color="tab:green", label=f"validation {metric}")
    right.set_ylabel(metric)
    if min(values) >= 0 and max(values) <= 1:
        _end_at_one(right)
    if best in epochs:
        value = values[epochs.index(best)]
        axes.axvline(best, color="grey", linewidth=1, linestyle=":")
        ring = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": "black"}
        right.plot([best], [value], "o", label=f"best epoch: {best}, {metric} {value:.4g}", **ring)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    save_figure(figure, folder / "learning_curve.png")


def _end_at_one(axes: Any) -> None:
    """Let the vertical axis of shares end a little above 1, with no tick beyond 1."""
    low, high = axes.get_ylim()
    if high > 1:
        axes.set_ylim(low, min(high, 1 + MARGIN * (1 - low)))
        axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick < 1 + 1e-9])


def confusion(
    truth: Sequence[str], found: Sequence[str], labels: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write confusion.png: true labels in rows, answers in columns, each row normalised to 1.

    The picture shows the DRAWN_LABELS labels that are confused most often. Returned are the labels
    with their counts (labels, labels), of more than MOST_LABELS those that are confused most often.
    """
    from sklearn.metrics import confusion_matrix

    def count(names: Sequence[str]) -> np.ndarray:
        sides = (numbered(side, names) for side in (truth, found))
        return confusion_matrix(*sides, labels=np.arange(len(names)))

    shown = [*labels]
    if len(labels) > MOST_LABELS:
        shown = _most_confused(truth, found, MOST_LABELS)
    counts = count(shown)
    report = {"labels": shown, "counts": counts.tolist()}
    if len(shown) > DRAWN_LABELS:
        shown = _most_confused(truth, found, DRAWN_LABELS)
        counts = count(shown)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    per_label = 0.75 if len(shown) <= CELLS else 0.17  # inches; a cell holds two lines of text
    size = max(4.0, min(20.0, 1.5 + per_label * len(shown)))
    figure, axes = new_axes(size + 1, size)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true label's rows", fraction=0.046)
    names = [drawable(label) for label in shown]
    font = 6 if len(names) > CELLS else 10
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=90 if len(names) > 4 else 0, fontsize=font)
    axes.set_yticks(ticks, names, fontsize=font)
    axes.set(xlabel="answer", ylabel="truth")
    if len(shown) < len(labels):
        axes.set_title(f"the {len(shown)} of {len(labels):,} labels that are confused most often")
    if len(names) <= CELLS:
        for (i, j), share in np.ndenumerate(shares):
            color = "white" if share > 0.5 else "black"
            axes.text(j, i, f"{share:.0%}\n{counts[i, j]}", ha="center", va="center", color=color)
    save_figure(figure, folder / "confusion.png")
    return report


def _most_confused(truth: Sequence[str], found: Sequence[str], most: int) -> list[str]:
    """Return `most` labels: those of the commonest mistakes, then the most frequent ones."""
    pairs = Counter(pair for pair in zip(truth, found, strict=True) if pair[0] != pair[1])
    by_mistakes = chain.from_iterable(pair for pair, _ in pairs.most_common(most))
    by_count = (label for label, _ in Counter(truth).most_common(most))
    return sorted([*dict.fromkeys(chain(by_mistakes, by_count))][:most])


def gates(
    tokens: Sequence[str], values: Sequence[np.ndarray], names: Sequence[str], folder: Path
) -> Path:
    """Write gates.png: i, f, g, o and c over the tokens, one column per layer and direction.

    values: five arrays (layers * directions, time, hidden), or a GRU's four: r, z, n and h. names:
    one per layer and direction. The means of the gates over the units stand on top. In each heat
    map a row is a unit, ordered by what it keeps, mean f or z, the highest at the top. Returns the
    path of the file.
    """
    lstm = len(values) == len(GATES)
    meanings, means = (GATES, "ifo") if lstm else (GRU_GATES, "rz")
    places = {gate: place for place, gate in enumerate(meanings)}
    shown = list(tokens[:TOKENS])
    time, count = len(shown), len(names)
    figure, axes = new_grid(
        count * max(3.2, 1.5 + 0.24 * time), 13 if lstm else 11, 1 + len(meanings), count
    )
    figure.suptitle(
        f"gates of the {'LSTM' if lstm else 'GRU'}: a row of pixels is a unit, a column a token"
    )
    for column, name in enumerate(names):
        top = axes[0, column]
        for gate in means:
            mean = values[places[gate]][column, :time].mean(1)
            top.plot(range(time), mean, label=gate, marker=".")
        title = f"{name}: mean of {', '.join(means)}"
        top.set(xlim=(-0.5, time - 0.5), ylim=(0, 1), xticks=[], title=title)
        top.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        order = np.argsort(-values[1][column, :time].mean(0))
        for row, (gate, meaning) in enumerate(meanings.items()):
            below = axes[row + 1, column]
            cells = values[row][column, :time, order]  # (hidden, time)
            signed = gate in ("g", "c", "n", "h")
            most = max(1e-9, float(np.abs(cells).max())) if gate == "c" else 1
            image = below.imshow(
                cells,
                aspect="auto",
                interpolation="nearest",
                vmin=-most if signed else 0,
                vmax=most,
                cmap="RdBu_r" if signed else "viridis",
            )
            figure.colorbar(image, ax=below)
            below.set(yticks=[], xticks=[], title=f"{name}: {gate}, {meaning}")
        name_steps(axes[-1, column], shown)
    path = folder / "gates.png"
    save_figure(figure, path)
    return path


def attention(read: Sequence[str], written: Sequence[str], weights: np.ndarray, path: Path) -> None:
    """Write a heat map of attention weights (written, read) to `path`; darker is more attention.

    `read` are the source tokens, `written` the generated ones.
    """
    read, written = read[:TOKENS], written[:TOKENS]
    figure, axes = new_axes(2.2 + 0.28 * len(read), 1.8 + 0.28 * len(written))
    axes.imshow(weights[: len(written), : len(read)], cmap="Greys", vmin=0, vmax=1, aspect="auto")
    name_steps(axes, read)
    axes.set_yticks(range(len(written)), [drawable(t, 12) for t in written], fontsize=8)
    axes.set(xlabel="read", ylabel="written")
    save_figure(figure, path)


def surprise(tokens: Sequence[str], bits: np.ndarray, path: Path) -> None:
    """Write a bar plot of the surprisal of each token, in bits (tokens,), to `path`."""
    tokens, bits = tokens[:TOKENS], bits[:TOKENS]
    figure, axes = new_axes(1.5 + 0.22 * len(tokens), 3.5)
    axes.bar(range(len(tokens)), bits, color="tab:blue")
    axes.axhline(float(bits.mean()), color="grey", linewidth=1, linestyle=":")
    name_steps(axes, tokens)
    axes.set(ylabel="bits", title="how unexpected each token was, given those before it")
    save_figure(figure, path)


def name_steps(axes: Any, tokens: Sequence[str]) -> None:
    """Write the token of each step below it; single characters, as of Chinese, stand upright."""
    labels = [drawable(token, 12) for token in tokens]
    upright = all(len(label) <= 1 for label in labels)
    axes.set_xticks(range(len(labels)), labels, rotation=0 if upright else 90, fontsize=8)


def drawable(label: str, longest: int = 20) -> str:
    """Return a label of at most `longest` characters on one line, without what cannot be seen.

    A longer one loses its middle: labels with one beginning stay apart.
    """
    seen = "".join(_seen(c) for c in label)
    if len(seen) > longest:
        end = longest // 3
        seen = f"{seen[: longest - 1 - end]}…{seen[-end:]}"
    short = _without_missing(seen)
    return short.replace("$", r"\$")


def _seen(character: str) -> str:
    """Return a character; a sign for a line end or a tab, a blank for what cannot be seen."""
    if character in "\n\t":
        return "↵" if character == "\n" else "→"
    return character if character.isprintable() else " "
