"""An explanation in a terminal: the answer first, then what mattered, then the LSTM's tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

WIDTH = 100
STRONG = 0.5  # share of the largest attribution from which on a token is bold
WEAK = 0.1  # share below which a token has no sign
PARTS = 30  # parts of an answer that are shown
NAME = 12  # columns of the name of a part
REASONS = 3  # tokens that are named for each part
FOR, AGAINST = (33, 102, 172), (178, 24, 43)  # colours: for the answer, against it
BARS = "▁▂▃▄▅▆▇█"
LONGEST = 80  # steps of a line of bars


def show(found: Mapping[str, Any], answer: str, console: Console | None = None) -> None:
    """Print an explanation; `answer` is the answer as one line of text.

    On a terminal tokens are coloured, blue for the answer and red against it. Elsewhere signs and
    numbers stand behind the tokens.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal or console.width > WIDTH:
        console.width = WIDTH
    for line in lines(found, answer, coloured=console.is_terminal and not console.no_color):
        console.print(line)


def lines(found: Mapping[str, Any], answer: str, coloured: bool) -> Iterator[Text]:
    """Yield the lines of an explanation."""
    probability = found["probability"]
    share = "" if probability is None else f"  (probability {probability:.4g}{_per(found)})"
    yield Text(f"answer: {visible(answer)}{share}", style="bold")
    if found["target"] != found["answer"].get("label", found["target"]):
        yield Text(f"explained: {found['target']}")
    if not found["tokens"]:
        yield Text("the input is empty: there is nothing to explain")
        return
    yield Text(_heading(found))
    yield marked(found["tokens"], found["occlusion"], coloured)
    if found["written"]:
        yield Text("")
        for part in found["written"][:PARTS]:
            yield _part(found["tokens"], part, coloured)
        if (more := len(found["written"]) - PARTS) > 0:
            yield Text(f"… and {more} more")
    yield from _states(found["lstm"])


def _per(found: Mapping[str, Any]) -> str:
    """Return of what a probability is the mean."""
    if not found["written"]:
        return ""
    return " per part"


def _heading(found: Mapping[str, Any]) -> str:
    """Return how the numbers were found, and whether the other method agrees."""
    what = "log-probability" if found["probability"] is not None else "forecast"
    line = f"what mattered: the fall of the {what} without a token"
    if found["window"] > 1:
        line += f" ({found['window']} neighbours at a time)"
    if found["agreement"] is not None:
        line += f"; integrated gradients agree: {found['agreement']:.2f}"
    return line


def marked(tokens: Sequence[str], values: Sequence[float], coloured: bool) -> Text:
    """Return tokens with what each adds: as colours, or as numbers behind those that matter."""
    most = max(map(abs, values), default=0) or 1.0
    line = Text()
    for token, value in zip(tokens, values, strict=True):
        share = abs(value) / most
        if coloured:
            shown = visible(token)
            body = shown.lstrip(" ")
            line.append(shown[: len(shown) - len(body)])
            line.append(body, style=_style(value, share))
        else:
            sign = f"({value:+.2g})" if share >= WEAK else ""
            line.append(visible(token) + sign)
    return line


def _style(value: float, share: float) -> str:
    """Return the style of a token: the stronger, the nearer to the full colour."""
    if share < WEAK / 2:
        return ""
    red, green, blue = (
        round(255 + (full - 255) * share) for full in (FOR if value > 0 else AGAINST)
    )
    text = "white" if share >= STRONG else "black"
    return f"{'bold ' if share >= STRONG else ''}{text} on rgb({red},{green},{blue})"


def _part(tokens: Sequence[str], part: Mapping[str, Any], coloured: bool) -> Text:
    """Return a part of the answer with the tokens that mattered most for it."""
    values = part["occlusion"]
    measure = part.get("value", part["probability"])
    name = visible(part["token"]).strip() or "␣"
    line = Text(f"{' ' * (NAME - cell_len(name))}{name}  {measure:<9.4g} ")
    order = sorted(range(len(tokens)), key=lambda number: -abs(values[number]))[:REASONS]
    most = abs(values[order[0]]) if order else 0
    for number in order:
        if abs(values[number]) < max(WEAK * most, 1e-6):
            continue
        text = f"{visible(tokens[number]).strip() or '␣'} {values[number]:+.2g}"
        style = _style(values[number], abs(values[number]) / most) if coloured else ""
        line.append(text, style=style)
        line.append("  ")
    return line


def _states(lstm: Mapping[str, Any]) -> Iterator[Text]:
    """Yield the norm of `output` at each step and direction, and where h_n and c_n are taken."""
    if not lstm["cells"]:
        yield Text("the gates of so long an input are not shown" if lstm["steps"] else "")
        return
    yield Text("")
    taken = "h_n and c_n are" if "c_n" in lstm["cells"][0] else "h_n is"  # a GRU has no c_n
    yield Text(f"norm of output at each step; {taken} taken at the end of each direction")
    for cell in lstm["cells"]:
        norms = cell["output"]
        name = f"layer {cell['layer'] + 1} {cell['direction']:<8}"
        yield Text(f"{name} {bars(norms)}  {min(norms):.3g} to {max(norms):.3g}")
        step = cell["h_n"]["step"]
        taken = ", ".join(
            f"{n} {cell[n]['norm']:.3g}{' (read)' if cell[n]['read'] else ''}"
            for n in ("h_n", "c_n")
            if n in cell
        )
        where = visible(lstm["steps"][step]).strip()
        yield Text(f"{'':>16} step {step + 1} of {len(norms)}, {where!r}: {taken}")
    for direction, steps in zip(("forward", "backward"), lstm["output_read"], strict=False):
        if steps:
            count = "every step" if len(steps) == len(lstm["steps"]) else f"{len(steps)} steps"
            yield Text(f"output is read at {count}, {direction}")


def bars(values: Sequence[float]) -> str:
    """Return values from 0 to their largest as bars; of many, the largest of neighbours."""
    width = -(-len(values) // LONGEST)
    parts = [max(values[start : start + width]) for start in range(0, len(values), width)]
    most = max(parts) or 1.0
    return "".join(BARS[min(len(BARS) - 1, int(value / most * len(BARS)))] for value in parts)


def visible(text: str) -> str:
    """Return a text without characters that would steer a terminal; a line end is ↵."""
    shown = text.replace("\r\n", "↵").replace("\n", "↵").replace("\t", " ")
    return "".join(c if c.isprintable() else " " for c in shown)
