"""Check a built site: every link leads to a page and a place, and nothing is loaded from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class _Page(HTMLParser):
    """What a page links to, what it loads, and its places."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = {""}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        name = LOADED.get(tag)
        if name in values and values.get("rel") not in ("canonical", "alternate", "prev", "next"):
            self.loads.append(values[name])


def broken(site: Path) -> list[str]:
    """Return a line for each link of the pages below `site` that leads nowhere in it.

    Links to other sites are not followed; what a page loads from another site is a fault.
    """
    pages = {path.resolve(): _read(path) for path in sorted(site.rglob("*.html"))}
    found: list[str] = []
    for path, page in pages.items():
        here = path.relative_to(site.resolve())
        for target in page.loads:
            if urlsplit(target).netloc:
                found.append(f"{here}: loads {target}")
        for target in [*page.links, *page.loads]:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            folder = site if parts.path.startswith("/") else path.parent
            file = (folder / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or not file.is_relative_to(site.resolve()):
                found.append(f"{here}: {target} is not there")
            elif file in pages and unquote(parts.fragment) not in pages[file].places:
                found.append(f"{here}: {target} has no such place")
    return found


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text("utf-8"))
    return page
