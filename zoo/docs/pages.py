"""Documents become pages: those that README leads to, with every link turned into one of the site.

A page is a copy that is made when the site is built. Nothing is written twice.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

LANGUAGES = ("ja", "zh-TW")
STARTS = ("README.md", "tasks/README.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md")
PICTURES = {".png", ".svg", ".jpg"}
LARGEST = 200_000  # bytes of a source that is shown as a page

LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)\)")
CODE = re.compile(r"(^ *```.*?^ *```)", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# The line of a document that leads to its siblings: the site has a menu of languages instead.
SIBLINGS = re.compile(r"^(?:\S+ · )+\S+$\n*", re.MULTILINE)

FROM_ROOT = "site:/"  # begins a link to a page of a language that is not the reader's

Convert = Callable[[Path, Path], None]  # a notebook, and the page that is written


def page_of(name: str) -> str:
    """Return where a file of the repository stands on the site, a path below its root.

    README.ja.md is index.ja.md, a notebook is a page, a source is a page of `source/`. There a
    point would part the name from a language.
    """
    path = PurePosixPath(name)
    if path.suffix == ".ipynb":
        inside = [part for part in path.parts[:-1] if part not in LANGUAGES]
        language = "".join(f".{part}" for part in path.parts[:-1] if part in LANGUAGES)
        return str(PurePosixPath(*inside, f"{path.stem}{language}.md"))
    if path.suffix == ".md":
        folder = "" if path.parts[0] == ".github" else str(path.parent)
        file = re.sub(r"^README\b", "index", path.name)
        return str(PurePosixPath(folder, file.lower() if not folder else file))
    if path.suffix in PICTURES:
        return name
    return f"source/{name.replace('.', '_')}.md"


def language_of(page: str) -> str | None:
    """Return the language in the name of a page, None for English."""
    found = re.search(rf"\.({'|'.join(LANGUAGES)})\.md$", page)
    return found and found[1]


def english(name: str) -> str:
    """Return the English document of which a file is a translation, or the file itself."""
    path = PurePosixPath(name)
    if path.suffix == ".ipynb" and path.parent.name in LANGUAGES:
        return str(path.parents[1] / path.name)
    return without_language(name)


def place_links(html: str, page: PurePosixPath) -> str:
    """Turn the links from the root of the site into links from a built page."""
    up = "../" * (len(page.parts) - 1)
    return html.replace(f'href="{FROM_ROOT}', f'href="{up}')


def without_language(page: str) -> str:
    """Return the name by which pages of all languages link to a page."""
    language = language_of(page)
    return page if language is None else page.removesuffix(f".{language}.md") + ".md"


def slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub and the site make it."""
    plain = LINK.sub(lambda found: found[1].strip("[]"), heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def with_places(text: str, english: str) -> str:
    """Give a translated document the anchors of the English one, heading by heading.

    What an English page links to is then there in every language. Headings that the translation
    lacks have their anchors at its end.
    """
    wanted = [slug(each[1]) for part in CODE.split(english)[::2] for each in HEADING.finditer(part)]
    parts = CODE.split(text)
    for number in range(0, len(parts), 2):
        parts[number] = HEADING.sub(
            lambda each: f'{each[0]}\n\n<a id="{wanted.pop(0)}"></a>' if wanted else each[0],
            parts[number],
        )
    return "".join([*parts, *(f'\n<a id="{each}"></a>\n' for each in wanted)])


def collect(root: Path, folder: Path, convert: Convert) -> list[str]:
    """Write all pages below `folder`; return the files of the repository that became one.

    `root` is the repository. `convert` writes the page of a notebook. Raises FileNotFoundError for
    a link that leads nowhere.
    """
    waiting = [name for start in STARTS for name in with_siblings(root, start)]
    seen: dict[str, None] = {}
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen[name] = None
        place = folder / page_of(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        waiting += _write(root, name, place, convert)
    return [*seen]


def with_siblings(root: Path, name: str) -> list[str]:
    """Return a document and those of its siblings in other languages that there are."""
    path = PurePosixPath(name)
    if path.suffix == ".ipynb":
        others = [str(path.parent / language / path.name) for language in LANGUAGES]
    else:
        others = [str(path.with_suffix(f".{language}.md")) for language in LANGUAGES]
    return [name, *(other for other in others if (root / other).is_file())]


def _write(root: Path, name: str, place: Path, convert: Convert) -> list[str]:
    """Write the page of one file; return the files that it leads to."""
    path = root / name
    if path.suffix in PICTURES:
        shutil.copyfile(path, place)
        return []
    if path.suffix == ".ipynb":
        convert(path, place)
    elif path.suffix == ".md":
        text = SIBLINGS.sub("", path.read_text("utf-8"), count=1)
        if language := language_of(page_of(name)):
            english = root / f"{name.removesuffix(f'.{language}.md')}.md"
            text = with_places(text, english.read_text("utf-8"))
        place.write_text(text, "utf-8")
    else:
        place.write_text(_source(name, path), "utf-8")
        return []
    text, found = relink(place.read_text("utf-8"), name, root)
    place.write_text(text, "utf-8")
    return [each for target in found for each in with_siblings(root, target)]


def _source(name: str, path: Path) -> str:
    """Return the page of a source: the file itself in a code block; of a folder its files."""
    if path.is_dir():
        return f"# {name}\n\n" + "".join(f"- `{each.name}`\n" for each in sorted(path.iterdir()))
    if path.stat().st_size > LARGEST:
        return f"# {name}\n\n{path.stat().st_size:,} bytes: see the file in the repository.\n"
    text = path.read_text("utf-8")
    fence = "`" * (3 + max((len(run) for run in re.findall("`{3,}", text)), default=0))
    language = {".py": "python", ".yaml": "yaml", ".json": "json"}.get(path.suffix, "text")
    return f"# {name}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def relink(text: str, name: str, root: Path) -> tuple[str, list[str]]:
    """Turn the links of a document into links of its page; return both the text and their files.

    Links inside of code, to other sites and to places of the page itself stay. Raises
    FileNotFoundError for a link that leads nowhere.
    """
    found: list[str] = []
    own, language = PurePosixPath(page_of(name)).parent, language_of(page_of(name))

    def turned(match: re.Match[str]) -> str:
        target, _, anchor = match[2].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        file = _resolved(root, name, target)
        if file is None:
            if PurePosixPath(name).suffix == ".ipynb":
                return match[0]  # a picture beside the page, written by the converter
            raise FileNotFoundError(f"{name}: leads to {target}, which is not there")
        found.append(file)
        page, wanted = page_of(file), language_of(page_of(file))
        leads = relative(without_language(page), own)  # the plugin leads to the reader's language
        if (
            page.endswith(".md")
            and wanted != language
            and len(with_siblings(root, english(file))) > 1
        ):
            place = without_language(page).removesuffix(".md") + ".html"
            leads = FROM_ROOT + (f"{wanted}/" if wanted else "") + place
        return f"{match[1]}({leads}" + (f"#{anchor})" if anchor else ")")

    parts = CODE.split(text)
    parts[::2] = [LINK.sub(turned, part) for part in parts[::2]]
    return "".join(parts), found


def _resolved(root: Path, name: str, target: str) -> str | None:
    """Return the file that a link leads to, relative to `root`; of a folder its README if it has one."""
    path = ((root / name).parent / target).resolve()
    if (path / "README.md").is_file():
        path /= "README.md"
    if not path.exists() or not path.is_relative_to(root.resolve()):
        return None
    return path.relative_to(root.resolve()).as_posix()


def relative(page: str, folder: PurePosixPath) -> str:
    """Return the path of a page as seen from a folder of the site."""
    parts, here = PurePosixPath(page).parts, folder.parts
    shared = 0
    while shared < min(len(parts) - 1, len(here)) and parts[shared] == here[shared]:
        shared += 1
    return "/".join([*[".."] * (len(here) - shared), *parts[shared:]])


def reference(names: Mapping[str, str]) -> str:
    """Return the page of the public names: {name: its first words}."""
    lines = ["# API", "", "| name | what it is |", "|---|---|"]
    lines += [f"| [`zoo.{name}`](#zoo.{name}) | {text} |" for name, text in names.items()]
    return "\n".join([*lines, "", *(f"::: zoo.{name}\n" for name in names)])
