"""An explanation as a page of HTML: one file that asks no other host, and runs no script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from zoo.explanation.terminal import AGAINST, FOR, visible
from zoo.files import write_text

PARTS = 200  # parts of an answer that are shown
STYLE = """
body { font: 16px/1.6 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin-top: 2rem }
.tokens { font-size: 1.1rem; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 2 }
.tokens span { padding: .15em 0; border-radius: .2em }
table { border-collapse: collapse } th, td { text-align: left; padding: .2rem .8rem .2rem 0 }
td { vertical-align: top } td .tokens { margin: 0; line-height: 1.6 } img { max-width: 100% } .note { color: #666; font-size: .9rem }
@media (prefers-color-scheme: dark) { img { background: white } }
"""


def write(found: Mapping[str, Any], answer: str, pictures: Sequence[Path], path: Path) -> None:
    """Write an explanation to `path`, a .html file that holds the pictures.

    `answer` is the answer as one line of text. Nothing in it is markup.
    """
    write_text(path, page(found, answer, pictures))


def page(found: Mapping[str, Any], answer: str, pictures: Sequence[Path]) -> str:
    """Return an explanation as HTML."""
    probability = found["probability"]
    share = "" if probability is None else f" <small>probability {probability:.4g}</small>"
    agreed = found["agreement"]
    note = "" if agreed is None else f" Rank correlation of both: {agreed:.2f}."
    if found["window"] > 1:
        note += f" {found['window']} neighbours were hidden at a time."
    parts = [
        f"<h1>{_text(answer)}{share}</h1>",
        f"<p>{_text(found['task'])} reads {_text(found['reads'])}: {_text(found['why'])}.</p>",
        "<h2>What mattered: occlusion</h2>",
        _tokens(found["tokens"], found["occlusion"]),
        "<h2>Integrated gradients</h2>",
        _tokens(found["tokens"], found["gradient"]),
        "<p class=note>Blue speaks for the answer, red against it; the number of a token is the fall "
        f"of the answer's {_measure(found)} without it.{note}</p>",
        *_written(found),
        *map(_picture, pictures),
    ]
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:\">\n"
        f"<title>{_text(found['task'])}: {_text(answer)}</title>\n<style>{STYLE}</style>\n</head>"
    )
    body = "\n".join(parts)
    return f"{head}\n<body>\n{body}\n</body>\n</html>\n"


def _measure(found: Mapping[str, Any]) -> str:
    return "value" if found["probability"] is None else "log-probability"


def _tokens(tokens: Sequence[str], values: Sequence[float]) -> str:
    """Return tokens as spans, coloured by what each adds."""
    most = max(map(abs, values), default=0) or 1.0
    spans = []
    for token, value in zip(tokens, values, strict=True):
        colour = ",".join(map(str, FOR if value > 0 else AGAINST))
        share = abs(value) / most
        style = f"background: rgba({colour},{0.75 * share:.3f})"
        spans.append(f'<span title="{value:+.4g}" style="{style}">{_text(token)}</span>')
    return f'<p class="tokens" dir="auto">{"".join(spans)}</p>'


def _written(found: Mapping[str, Any]) -> list[str]:
    """Return a table of the parts of the answer."""
    if not found["written"]:
        return []
    rows = []
    for part in found["written"][:PARTS]:
        measure = part.get("value", part["probability"])
        cells = _tokens(found["tokens"], part["occlusion"])
        rows.append(f"<tr><td>{_text(part['token'])}<td>{measure:.4g}<td>{cells}")
    name = "value" if found["probability"] is None else "probability"
    head = f"<tr><th>part<th>{name}<th>what mattered for it"
    return ["<h2>Part by part</h2>", f"<table>{head}{''.join(rows)}</table>"]


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<p><img alt="{_text(path.stem)}" src="data:image/png;base64,{data}"></p>'


def _text(text: str) -> str:
    """Return a text without markup, and without characters that cannot be seen."""
    return escape("".join(visible(c) if c not in "\n\t" else c for c in text))
