"""Build the site with MkDocs, from the documents, the docstrings and the notebooks of a checkout.

    pip install -e ".[docs]" && python -m zoo.docs

It needs no network, and its pages load nothing from elsewhere. `zoo/docs/mkdocs.yml` holds titles
and plugins. A link that leads nowhere is an error, exit status 2.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import logging
import re
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path, PurePosixPath
from shutil import copyfile

from zoo.docs import links, pages
from zoo.errors import InputError
from zoo.messages import failed

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("mkdocs.yml")
KANJI, KANA = "[\u3400-\u9fff]", "[\u3041-\u30ff]"
SEAM = re.compile(f"(?<={KANJI})(?={KANA})|(?<={KANA})(?={KANJI})")
MODULES = ("mkdocs", "material", "mkdocstrings", "mkdocs_static_i18n", "nbconvert")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the site; return the exit status."""
    parser = argparse.ArgumentParser("python -m zoo.docs", description="Build the site.")
    parser.add_argument("folder", nargs="?", default="site", help="where it is written")
    folder = Path(parser.parse_args(arguments).folder)
    try:
        count = build(folder)
    except InputError as error:
        return failed(error)
    print(f"{count} pages; read them: python -m http.server --directory {folder}")
    return 0


def build(folder: Path) -> int:
    """Write the site to `folder`; return the number of its pages.

    Raises InputError outside of a checkout, without the packages, for a folder that holds
    something else, and for links that lead nowhere.
    """
    if not (ROOT / "README.md").is_file() or not (ROOT / "tasks" / "README.md").is_file():
        raise InputError(f"{ROOT}: no checkout: the documents are not in an installed package")
    if missing := [name for name in MODULES if importlib.util.find_spec(name) is None]:
        raise InputError(f'no package {missing[0]}: pip install -e ".[docs]"')
    if folder.exists() and any(folder.iterdir()) and not (folder / "sitemap.xml").is_file():
        raise InputError(f"{folder}: holds something that is no site: name another folder")
    with tempfile.TemporaryDirectory() as work:
        try:
            pages.collect(ROOT, Path(work), _convert)
        except FileNotFoundError as error:
            raise InputError(str(error)) from None
        (Path(work) / "api.md").write_text(pages.reference(public_names()), "utf-8")
        copyfile(CONFIG.with_name("search.js"), Path(work) / "search.js")
        _run_mkdocs(Path(work), folder.resolve())
    for path in folder.rglob("*.html"):
        page = PurePosixPath(path.relative_to(folder).as_posix())
        path.write_text(pages.place_links(path.read_text("utf-8"), page), "utf-8")
    _cut_japanese(folder / "search" / "search_index.json")
    if wrong := links.broken(folder):
        raise InputError("links that lead nowhere:\n" + "\n".join(wrong))
    return sum(1 for _ in folder.rglob("*.html"))


def public_names() -> dict[str, str]:
    """Return each public name with the first sentence of its docstring."""
    zoo = import_module("zoo")  # the names of all layers, which this one may not import from
    texts = {name: inspect.getdoc(getattr(zoo, name)) or "" for name in zoo.__all__}
    return {name: text.split("\n\n")[0].replace("\n", " ") for name, text in texts.items()}


def _convert(notebook: Path, page: Path) -> None:
    """Write a notebook with its outputs as a page, and its pictures beside it."""
    from nbconvert import MarkdownExporter

    name = page.stem
    given = {"unique_key": name, "output_files_dir": f"{name}_files"}
    text, resources = MarkdownExporter().from_filename(str(notebook), given)
    page.write_text(text, "utf-8")
    for file, content in resources["outputs"].items():
        place = page.parent / file
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)


def _cut_japanese(index: Path) -> None:
    """Cut the words of the search index where kanji and kana meet; `search.js` cuts queries so."""
    content = json.loads(index.read_text("utf-8"))
    for document in content["docs"]:
        for part in ("title", "text"):
            document[part] = SEAM.sub("\u200b", document[part])
    index.write_text(json.dumps(content, ensure_ascii=False), "utf-8")


def _run_mkdocs(documents: Path, folder: Path) -> None:
    """Build `documents` into `folder`. Raises InputError for what MkDocs refuses or warns of."""
    from mkdocs.commands.build import build as run
    from mkdocs.config import load_config
    from mkdocs.exceptions import MkDocsException

    warned = _Warnings()
    log = logging.getLogger("mkdocs")
    log.addHandler(warned)
    logging.getLogger("jieba").setLevel(logging.WARNING)
    try:
        config = load_config(str(CONFIG), docs_dir=str(documents), site_dir=str(folder))
        config.plugins.on_startup(command="build", dirty=False)
        run(config)
    except MkDocsException as error:
        raise InputError(f"{CONFIG.name}: {error}") from None
    finally:
        log.removeHandler(warned)
    if warned.lines:
        raise InputError("MkDocs warns:\n" + "\n".join(warned.lines))


class _Warnings(logging.Handler):
    """Keeps the warnings of a build."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
