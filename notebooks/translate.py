"""Write the notebooks in other languages: `python notebooks/translate.py`.

LANGUAGE/NAME.md holds the text cells of NAME.ipynb in their order, with a line `<!-- cell -->`
between two. The second cell is missing there: it is the summary in this language, which stands in
the English notebook. Code cells and outputs are that notebook's, so that nothing runs again.

Pictures are in every language, because a notebook without them says little. They are reduced to
256 colours first, in the English notebooks too: all eight shrink from 1.4 MB to 0.5 MB.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
from PIL import Image

FOLDER = Path(__file__).resolve().parent
LANGUAGES = {"ja": "日本語", "zh-TW": "繁體中文"}  # folder -> its own name
SUMMARY = {"ja": "まとめ", "zh-TW": "摘要"}
BETWEEN = "\n<!-- cell -->\n"
PNG = "image/png"
COLOURS = 256


def main() -> None:
    """Reduce the pictures of every notebook, then write every translation that has a text."""
    for path in sorted(FOLDER.glob("[0-9]*.ipynb")):
        reduced = reduce(nbformat.read(path, 4))
        write(path, reduced)
        for language in LANGUAGES:
            text = FOLDER / language / f"{path.stem}.md"
            if text.exists():
                write(text.with_suffix(".ipynb"), translated(reduced, cells_of(text), text))


def cells_of(path: Path) -> list[str]:
    """Return the text cells in a file."""
    return [text.strip() for text in path.read_text("utf-8").split(BETWEEN)]


def translated(
    notebook: nbformat.NotebookNode, texts: list[str], path: Path
) -> nbformat.NotebookNode:
    """Return a notebook with other text cells. Raises ValueError if there are more or fewer."""
    made = nbformat.from_dict(notebook)
    made.metadata.pop("jupytext", None)  # it has no script of its own
    first, second, *others = [cell for cell in made.cells if cell.cell_type == "markdown"]
    if len(texts) != 1 + len(others):
        raise ValueError(f"{path}: {len(texts)} text cells, the notebook has {1 + len(others)}")
    for cell, text in zip((first, *others), texts, strict=True):
        cell.source = text
    second.source = f"{summary(second.source, path.parent.name)}\n\n{links(path)}"
    return made


def summary(text: str, language: str) -> str:
    """Return the paragraph in a language of the cell that has the summaries."""
    head = f"**{LANGUAGES[language]}**"
    (found,) = [part for part in text.split("\n\n") if part.startswith(head)]
    return found.replace(head, f"**{SUMMARY[language]}**", 1)


def links(path: Path) -> str:
    """Return links to the same notebook in the other languages."""
    others = [language for language in LANGUAGES if language != path.parent.name]
    found = [f"[{LANGUAGES[language]}](../{language}/{path.stem}.ipynb)" for language in others]
    return " | ".join([f"[English](../{path.stem}.ipynb)", *found])


def reduce(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a notebook whose pictures have at most COLOURS colours; those that have are kept."""
    made = nbformat.from_dict(notebook)
    for cell in made.cells:
        for output in cell.get("outputs", []):
            if PNG in output.get("data", {}):
                output.data[PNG] = smaller(output.data[PNG])
    return made


def smaller(encoded: str) -> str:
    """Return a picture (PNG in base64) with a palette."""
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        if picture.mode == "P":
            return encoded
        colours = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        file = io.BytesIO()
        colours.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def write(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Write a notebook; the same one is the same bytes."""
    path.write_text(nbformat.writes(notebook) + "\n", "utf-8")


if __name__ == "__main__":
    main()
