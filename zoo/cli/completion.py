"""Shell completion: `zoo --completion bash` prints a script; it asks `zoo --complete WORDS…`.

Settings are read from the sources of their classes, so that an answer takes a tenth of a second.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
TASKS = PACKAGE.parent / "tasks"
PROGRAMS = ("hub", "export", "bench")
FLAGS = ("--help", "--version", "--cfg", "--multirun", "--completion")

# Section -> file and class of its options.
CLASSES = {
    "backbone": (PACKAGE / "nn/backbone.py", "BackboneConfig"),
    "tokenizer": (PACKAGE / "config.py", "TokenizerConfig"),
    "train": (PACKAGE / "config.py", "TrainConfig"),
    "generation": (PACKAGE / "generation/config.py", "GenerationConfig"),
    "evaluate": (PACKAGE / "evaluation/config.py", "EvaluationConfig"),
    "serve": (PACKAGE / "config.py", "ServeConfig"),
}
SECTIONS = ("task", "data", *CLASSES)

BASH = """\
_zoo() {
    local line="${COMP_LINE:0:COMP_POINT}"
    local -a words
    read -ra words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    local word="${words[${#words[@]}-1]}"
    local IFS=$'\\n'
    COMPREPLY=($(zoo --complete "${words[@]:1}" 2> /dev/null))
    if ((${#COMPREPLY[@]} == 0)); then
        compopt -o filenames
        COMPREPLY=($(compgen -f -- "${word##*=}"))
        return
    fi
    if [[ "$COMP_WORDBREAKS" == *=* && "$word" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
    fi
    if ((${#COMPREPLY[@]} == 1)) && [[ "${COMPREPLY[0]}" != *[=.] ]]; then
        COMPREPLY[0]+=" "
    fi
}
complete -o nospace -F _zoo zoo
"""

ZSH = """\
#compdef zoo
_zoo() {
    local -a found
    found=("${(@f)$(zoo --complete "${(@)words[2,CURRENT]}" 2> /dev/null)}")
    found=("${(@)found:#}")
    if (( $#found == 0 )); then
        compset -P '*='
        _files
    elif (( $#found == 1 )) && [[ "$found[1]" != *[=.] ]]; then
        compadd -- "$found[1]"
    else
        compadd -S '' -- "${found[@]}"
    fi
}
compdef _zoo zoo
"""


def script(shell: str) -> str:
    """Return the script that completes words of `zoo` in bash or zsh. Raises InputError."""
    scripts = {"bash": BASH, "zsh": ZSH}
    if shell not in scripts:
        raise InputError(f"--completion {shell}: there are --completion bash and --completion zsh")
    return scripts[shell]


def candidates(words: Sequence[str]) -> list[str]:
    """Return the words that can stand where the last of `words` is being typed.

    Of a setting whose value is a path or a number there are none: the shell completes files.
    """
    word = words[-1] if words else ""
    before = words[:-1]
    name, equals, _ = word.partition("=")
    if before[:1] and before[0] in PROGRAMS:
        found = []
    elif before[-1:] == ["--completion"]:
        found = ["bash", "zsh"]
    elif word.startswith("-"):
        found = [*FLAGS]
    elif equals:
        found = [f"{name}={value}" for value in _values(name, before)]
    elif "." in word:
        section = word.partition(".")[0]
        found = [f"{section}.{option}=" for option in _options(section, before)]
    else:
        top = _fields(PACKAGE / "config.py", "Settings")
        found = [f"{name}=" for name in top if name not in SECTIONS]
        found += [f"{section}=" for section in ("task", "data")]
        found += [f"{section}." for section in SECTIONS]
        found += [] if before else [*top["mode"], *PROGRAMS]
    return sorted(text for text in found if text.startswith(word))


def _values(name: str, before: Sequence[str]) -> list[str]:
    """Return the values that a setting can have, if they are few."""
    section, _, option = name.partition(".")
    if option:
        return _options(section, before).get(option, [])
    if name == "task":
        return _names(TASKS, "[a-z]*.py")
    if name == "data":
        return _names(_configs() / "data", "*.yaml")
    if name in ("model", "init"):
        manifests = (PACKAGE / "pretrained").glob("*/*/manifest.json")
        return ["/".join(path.parts[-3:-1]) for path in manifests]
    return _fields(PACKAGE / "config.py", "Settings").get(name, [])


def _options(section: str, before: Sequence[str]) -> dict[str, list[str]]:
    """Return the options of a section, each with its values if they are few."""
    chosen = dict(word.partition("=")[::2] for word in before)
    if section == "task":
        task = chosen.get("task", "classify")
        path = TASKS / f"{task}.py"
        name = "".join(part.capitalize() for part in task.split("_")) + "Config"
        return _fields(path, name) if path.is_file() else {}
    if section == "data":
        path = _configs() / "data" / f"{chosen.get('data', 'cldr')}.yaml"
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        keys = (line.partition(":")[0] for line in lines if ":" in line)
        return {key: [] for key in keys if key.isidentifier() and key != "name"}
    return _fields(*CLASSES[section]) if section in CLASSES else {}


def _fields(path: Path, name: str) -> dict[str, list[str]]:
    """Return the fields of a class, those of its bases first; of each, the values if they are few."""
    classes = _classes(PACKAGE / "task.py") | _classes(path)
    found: dict[str, list[str]] = {}
    if name not in classes:
        return found
    for base in classes[name].bases:
        if isinstance(base, ast.Name):
            found |= _fields(path, base.id)
    for node in classes[name].body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            annotation = ast.unparse(node.annotation)
            if not annotation.startswith("ClassVar") and not node.target.id.startswith("_"):
                found[node.target.id] = _choices(node.annotation)
    return found


def _classes(path: Path) -> dict[str, ast.ClassDef]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _choices(annotation: ast.expr) -> list[str]:
    """Return the values of a Literal or of a bool; of other types, none."""
    if isinstance(annotation, ast.Name) and annotation.id == "bool":
        return ["true", "false"]
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        constants = (node.value for node in ast.walk(annotation) if isinstance(node, ast.Constant))
        return [str(value) for value in constants]
    return []


def _configs() -> Path:
    """Return the folder `configs`, as `zoo.config.find_configs` does, without its imports."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.parent / "configs"


def _names(folder: Path, pattern: str) -> list[str]:
    return [path.stem for path in folder.glob(pattern)]
