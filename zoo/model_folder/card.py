"""The model card: README.md of a model folder, generated from its config.json.

It begins with the YAML header that the Hugging Face hub reads, as `huggingface_hub.ModelCardData`
writes it. The package itself is not needed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from zoo.data.processors import Processor, Scaler
from zoo.model_folder.citations import SOURCES
from zoo.text.tokenizers import Tokenizer

PIPELINES = {  # what the hub calls a task
    "classify": "text-classification",
    "tag": "token-classification",
    "translate": "translation",
    "generate": "text-generation",
    "forecast": "time-series-forecasting",
}
LANGUAGES = {"English": "en", "German": "de", "Japanese": "ja", "Chinese": "zh"}
LIBRARY = "sequence-zoo"

FACTS = (  # keys of a report that become the metadata of a model folder
    "data",
    "data_settings",
    "reads",
    "test",
    "valid",
    "baseline",
    "best_epoch",
    "chosen_by",
    "rows",
    "parameters",
    "train_seconds",
    "seed",
    "precision",
    "command",
    "versions",
)


def printable(value: Any) -> Any:
    """Return plain data in which all texts are Unicode: bytes of a file name become escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable(item) for item in value]
    return value


def card(
    task: str,
    reads: str,
    why: str,
    parameters: int,
    processors: Mapping[str, Processor],
    metadata: Mapping[str, Any],
) -> str:
    """Return the model card: a YAML header, then Markdown."""
    data = str(metadata.get("data", "unnamed data"))
    head = yaml.safe_dump(header(task, metadata), sort_keys=False, allow_unicode=True)
    lines = ["---", *head.splitlines(), "---", ""]
    lines += [f"# {metadata.get('name') or f'{task} on {data}'}", ""]
    lines += [f"Reads `{reads}` of the LSTM: {why}.", ""]
    lines += [f"- {parameters:,} parameters{_input(processors)}"]
    for name in ("languages", "weights", "seed", "precision", "train_seconds"):
        if name in metadata:
            lines.append(f"- {name.replace('_', ' ')}: {metadata[name]}")
    if "chosen_by" in metadata:
        best = f"epoch {metadata['best_epoch']}, the best by validation {metadata['chosen_by']}"
        lines.append(f"- weights of {best}")
    lines += ["", *_figures(metadata), *_data(data), *_commands(metadata)]
    if "limits" in metadata:
        lines += ["## Limits", "", str(metadata["limits"]), ""]
    name = metadata.get("name", "FOLDER")
    use = f'import zoo\n\nzoo.load("{name}").predict(["…"])'
    lines += ["## Use", "", "```python", use, "```"]
    return "\n".join([*lines, ""])


def header(task: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the hub reads of a card: task, library, languages, licence, metrics as results.

    Keys whose values are not known are left out. The licence is that of the data.
    """
    found: dict[str, Any] = {"library_name": LIBRARY, "tags": ["lstm", task]}
    if languages := _languages(str(metadata.get("languages", ""))):
        found["language"] = languages
    pipeline = PIPELINES.get(task)
    if pipeline is not None:
        found["pipeline_tag"] = pipeline
    data = str(metadata.get("data", ""))
    if data in SOURCES:
        found["license"] = SOURCES[data].licence_id
        if found["license"] == "other":
            found["license_name"] = SOURCES[data].licence
    figures = {
        name: value
        for name, value in (metadata.get("test") or {}).items()
        if isinstance(value, float)
    }
    if figures:
        name = str(metadata.get("name") or f"{task} on {data or 'own data'}")
        result = {
            "task": {"type": pipeline or task},
            "dataset": {"name": data or "own data", "type": data or "own", "split": "test"},
            "metrics": [{"type": metric, "value": value} for metric, value in figures.items()],
        }
        found["model-index"] = [{"name": name, "results": [result]}]
    return found


def _languages(said: str) -> list[str]:
    """Return the codes of the languages that a text names; many are "multilingual"."""
    if re.search(r"\d+ languages", said):
        return ["multilingual"]
    return [code for name, code in LANGUAGES.items() if name in said]


def _input(processors: Mapping[str, Processor]) -> str:
    """Return the size of the tokenizer or of the scaler, after a comma; "" without both."""
    tokenizer, scaler = processors.get("tokenizer"), processors.get("scaler")
    if isinstance(tokenizer, Tokenizer):
        return f", tokenizer of {len(tokenizer):,} {tokenizer.kind}"
    if isinstance(scaler, Scaler):
        return f", scaler of {scaler.width:,} features"
    return ""


def _figures(metadata: Mapping[str, Any]) -> list[str]:
    """Return a table of metrics: of this folder, of the full-precision weights, of the baseline."""
    columns = [
        (name, metadata[key])
        for key, name in (
            ("test", "test"),
            ("trained", "test, full weights"),
            ("valid", "validation"),
            ("baseline", "test, baseline"),
        )
        if metadata.get(key)
    ]
    if not columns:
        return []
    names = dict.fromkeys(name for _, values in columns for name in values)
    header = ["metric", *(name for name, _ in columns)]
    rows = [[name, *(_shown(values.get(name)) for _, values in columns)] for name in names]
    return ["## Figures", "", *_table([header, ["---"] * len(header), *rows]), ""]


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(rows: Iterable[Iterable[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in rows]


def _data(name: str) -> list[str]:
    source = SOURCES.get(name)
    if source is None:
        return []
    return [
        "## Data",
        "",
        f"{source.about[0].upper()}{source.about[1:]} (`data={name}`).",
        "",
        f"Licence: {source.licence}.",
        "",
        f"To cite: {source.cite}.",
        "",
    ]


def _commands(metadata: Mapping[str, Any]) -> list[str]:
    """Return the commands that train and evaluate the model."""
    commands = [("Trained by", metadata.get("command"))]
    if steps := metadata.get("steps"):
        several = ", each step from the model of the one before" if steps[1:] else ""
        commands = [(f"Trained by{several}", "\n".join(map(_command, steps)))]
        commands.append(
            ("All of that, and a comparison with the figures above", metadata["retrain"])
        )
    commands.append(("Measured by", metadata.get("evaluate")))
    lines = []
    for what, command in commands:
        if command:
            lines += [f"{what}:", "", "```", command, "```", ""]
    return ["## Training", "", *lines] if lines else []


def _command(settings: Iterable[str]) -> str:
    return shlex.join(["python", "-m", "zoo.run", *settings])
