"""Plots of a run, written to files. matplotlib is imported only inside the functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from zoo.files import atomic
from zoo.files.own_files import PROGRAM

TOKENS = 60  # tokens of a text that a plot shows
GATES = {
    "i": "input gate",
    "f": "forget gate",
    "g": "cell candidate",
    "o": "output gate",
    "c": "cell state",
}
CELLS = 12  # a confusion matrix of more labels has no numbers in its cells
MOST_LABELS = 100  # of a confusion matrix


def new_axes(width: float, height: float) -> tuple[Any, Any]:
    """Return a figure, its size in inches, and its axes."""
    figure, axes = _figure(width, height, 1, 1)
    return figure, axes[0, 0]


def _figure(width: float, height: float, rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Any, path: Path) -> None:
    """Write a picture; it is there when it is complete, and names the zoo as its program."""
    with atomic(path) as file:
        figure.savefig(file, format="png", metadata={"Software": PROGRAM})


def learning_curve(history: Sequence[dict[str, Any]], metric: str, folder: Path) -> None:
    """Write learning_curve.png: losses on the left axis, the validation metric on the right."""
    figure, axes = new_axes(7, 4)
    epochs = [entry["epoch"] for entry in history]
    axes.plot(epochs, [entry["loss"] for entry in history], "o-", label="training loss")
    if "loss" in history[0]["valid"]:
        losses = [entry["valid"]["loss"] for entry in history]
        axes.plot(epochs, losses, "s--", label="validation loss")
    axes.set(xlabel="epoch", ylabel="loss", xticks=epochs[:: max(1, len(epochs) // 12)])
    right = axes.twinx()
    right.plot(
        epochs,
        [entry["valid"][metric] for entry in history],
        "^:",
        color="tab:green",
        label=f"validation {metric}",
    )
    right.set_ylabel(metric)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    save_figure(figure, folder / "learning_curve.png")


def confusion(
    truth: Sequence[str], found: Sequence[str], labels: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write confusion.png: true labels in rows, answers in columns, each row normalised to 1.

    Returns the labels that are shown, and their counts (labels, labels). Of more than MOST_LABELS
    labels those are shown that are confused most often.
    """
    from sklearn.metrics import confusion_matrix

    shown = [*labels] if len(labels) <= MOST_LABELS else _most_confused(truth, found)
    counts = confusion_matrix(truth, found, labels=shown)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    per_label = 0.75 if len(shown) <= CELLS else 0.17  # inches; a cell holds two lines of text
    size = max(4.0, min(20.0, 1.5 + per_label * len(shown)))
    figure, axes = new_axes(size + 1, size)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true label's rows", fraction=0.046)
    names = [_drawable(label) for label in shown]
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
    return {"labels": shown, "counts": counts.tolist()}


def _most_confused(truth: Sequence[str], found: Sequence[str]) -> list[str]:
    """Return MOST_LABELS labels: those of the commonest mistakes, then the most frequent ones."""
    pairs = Counter(pair for pair in zip(truth, found, strict=True) if pair[0] != pair[1])
    by_mistakes = chain.from_iterable(pair for pair, _ in pairs.most_common(MOST_LABELS))
    by_count = (label for label, _ in Counter(truth).most_common(MOST_LABELS))
    return sorted([*dict.fromkeys(chain(by_mistakes, by_count))][:MOST_LABELS])


def gates(
    tokens: Sequence[str], values: Sequence[np.ndarray], names: Sequence[str], folder: Path
) -> Path:
    """Write gates.png: i, f, g, o and c over the tokens, one column per layer and direction.

    values: five arrays (layers * directions, time, hidden). names: one per layer and direction. In
    each heat map a row is a unit, ordered by mean forget gate, the highest at the top. Returns the
    path of the file.
    """
    shown = list(tokens[:TOKENS])
    time, count = len(shown), len(names)
    figure, axes = _figure(count * max(3.2, 1.5 + 0.24 * time), 11, 5, count)
    figure.suptitle("gates of the LSTM: a row of pixels is a unit, a column a token")
    for column, name in enumerate(names):
        order = np.argsort(-values[1][column, :time].mean(0))
        for row, (gate, meaning) in enumerate(GATES.items()):
            cells = values[row][column, :time, order]  # (hidden, time)
            signed = gate in ("g", "c")
            top = max(1e-9, float(np.abs(cells).max())) if gate == "c" else 1
            image = axes[row, column].imshow(
                cells,
                aspect="auto",
                interpolation="nearest",
                vmin=-top if signed else 0,
                vmax=top,
                cmap="RdBu_r" if signed else "viridis",
            )
            figure.colorbar(image, ax=axes[row, column])
            axes[row, column].set(yticks=[], xticks=[], title=f"{name}: {gate}, {meaning}")
        labels = [_drawable(token, 12) for token in shown]
        axes[-1, column].set_xticks(range(time), labels, rotation=90, fontsize=8)
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
    axes.set_xticks(range(len(read)), [_drawable(t, 12) for t in read], rotation=90, fontsize=8)
    axes.set_yticks(range(len(written)), [_drawable(t, 12) for t in written], fontsize=8)
    axes.set(xlabel="read", ylabel="written")
    save_figure(figure, path)


def surprise(tokens: Sequence[str], bits: np.ndarray, path: Path) -> None:
    """Write a bar plot of the surprisal of each token, in bits (tokens,), to `path`."""
    tokens, bits = tokens[:TOKENS], bits[:TOKENS]
    figure, axes = new_axes(1.5 + 0.22 * len(tokens), 3.5)
    axes.bar(range(len(tokens)), bits, color="tab:blue")
    axes.axhline(float(bits.mean()), color="grey", linewidth=1, linestyle=":")
    axes.set_xticks(range(len(tokens)), [_drawable(t, 12) for t in tokens], rotation=90, fontsize=8)
    axes.set(ylabel="bits", title="how unexpected each token was, given those before it")
    save_figure(figure, path)


def _drawable(label: str, longest: int = 20) -> str:
    """Return a label of at most `longest` characters; those the default font lacks as escapes."""
    escaped = "".join(
        c if (ord(c) < 0x250 and c.isprintable()) or c == " " else f"\\u{ord(c):04x}" for c in label
    )
    short = escaped if len(escaped) <= longest else escaped[: longest - 1] + "…"
    return short.replace("$", r"\$")
