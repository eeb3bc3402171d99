"""Rows with their answers: the columns that are added to them, and files of such rows."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from zoo.data.corpora.files import in_other_capitals, renamed
from zoo.data.corpora.sequences import steps_of
from zoo.data.processors import LabelSetEncoder, decide
from zoo.data.readers import Row, is_empty
from zoo.errors import RowError
from zoo.evaluation.config import EvaluationConfig
from zoo.evaluation.label_sets import JOINED
from zoo.generation.config import GenerationConfig
from zoo.task import FeatureTask, Generative, Task, predict_rows

FORMS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".conll": "conll",
    ".bio": "conll",
    ".conllu": "conll",
    ".txt": "label",
}
ROWS = "csv", "tsv", "jsonl", "conll"  # forms in which whole rows are written
UNSURE = "unsure"  # the answer below the threshold


def form_of(*names: str) -> str:
    """Return the form of the first name with a known suffix; "label", a line an answer, without."""
    for name in names:
        suffix = Path(name.lower().removesuffix(".gz")).suffix
        if suffix in FORMS:
            return FORMS[suffix]
    return "label"


def with_own_columns(task: Task, row: Row, settings: Mapping[str, Any]) -> Row:
    """Return a row in which the columns that `data.…` names have the names of the task.

    A row without them that has the task's own columns, or a text, stays as it is. Raises RowError.
    """
    if isinstance(task, FeatureTask) and task.of_features:
        return _with_features(task.input_columns[0], row, settings)
    columns = task.input_columns if "words" in task.input_columns else ("text", *task.input_columns)
    wanted = {name: settings.get(name) for name in columns}
    names = {name: str(own) for name, own in wanted.items() if own and own != name}
    names |= {name: in_other_capitals(row, [own]).get(own, own) for name, own in names.items()}
    there = any(own in row or own.partition(".")[0] in row for own in names.values())
    complete = "text" in row or {*task.input_columns} <= row.keys()
    if not names or (not there and complete):
        return row if complete else _with_other_capitals(row, {*columns, "text"})
    return next(renamed(lambda: iter([row]), names))


def _with_other_capitals(row: Row, columns: Iterable[str]) -> Row:
    """Return a row with the columns that it has in other capitals, `Text` for `text`."""
    found = in_other_capitals(row, columns)
    return Row({**row, **{name: row[other] for name, other in found.items()}}, row.source)


def _with_features(column: str, row: Row, settings: Mapping[str, Any]) -> Row:
    """Return a row with the features that `data.features` names in one column, as a model reads them."""
    names = settings.get("features")
    if column in row:
        return row
    if settings.get("series"):
        cure = "give lists in a .jsonl file, a sequence in each row, and data.series=null"
        raise RowError(row.source, f"a prediction reads no long table: {cure}")
    if not names:
        there = ", ".join(row)
        raise RowError(row.source, f"no column {column!r}: set data.features=[…] of {there}")
    return Row(
        {**row, column: steps_of(row, [names] if isinstance(names, str) else names)}, row.source
    )


class AnswerColumns:
    """The columns of an answer: their names, and their values for each answer."""

    def __init__(
        self,
        task: Task,
        top: int,
        threshold: float,
        generation: GenerationConfig | None,
        separator: str | None = None,
    ) -> None:
        """`top` is the number of labels of a classifier, `threshold` the least probability.

        `separator` stands between several labels of a text where they are one cell or line.
        """
        self.task = task
        self.several = isinstance(task.processors.get("labels"), LabelSetEncoder)
        self.separator = separator or JOINED
        self.top = top
        self.threshold = threshold
        self.texts = generation.n_best if generation is not None else 0
        if "words" in task.input_columns:
            self.names = ["labels"]
        elif self.texts:
            name = "translation" if "target" in task.target_columns else "text"
            self.names = _numbered([name], self.texts)
        elif "label" in task.target_columns:
            self.names = _numbered(["label", "probability"], top)
        else:
            self.names = ["answer"]

    def values(self, answer: Any) -> list[Any]:
        """Return a value for each name; None for what an answer does not have."""
        found: list[Any] = []
        if answer is None:
            found = []
        elif self.names == ["labels"]:
            found = [answer["labels"]]
        elif self.texts and isinstance(self.task, Generative):
            found = [hypothesis["text"] for hypothesis in answer["n_best"]]
        elif self.several and self.top == 1:
            labels = self.labels(answer)
            found = [labels, [round(answer["probabilities"][label], 6) for label in labels]]
        elif isinstance(answer, Mapping) and "probabilities" in answer:
            found = [part for pair in self.best(answer) for part in pair]
        else:
            found = [self.task.format(answer)]
        return [*found, *[None] * (len(self.names) - len(found))]

    def labels(self, answer: Mapping[str, Any]) -> list[str]:
        """Return the labels of a multi-label answer: by the model's thresholds, or by the given one."""
        if not self.threshold:
            return list(answer["labels"])
        return decide(answer["probabilities"], defaultdict(lambda: self.threshold))

    def best(self, answer: Mapping[str, Any]) -> list[tuple[str, float]]:
        """Return the `top` most probable labels; the first is UNSURE below the threshold.

        Of a multi-label answer those below the threshold are left out.
        """
        found = self._most_probable(answer)
        if self.several:
            return [pair for pair in found if pair[1] >= self.threshold]
        if found[0][1] < self.threshold:
            found[0] = (UNSURE, found[0][1])
        return found

    def _most_probable(self, answer: Mapping[str, Any]) -> list[tuple[str, float]]:
        """Return the `top` most probable labels by their own names, whatever the threshold."""
        shares = sorted(answer["probabilities"].items(), key=lambda pair: -pair[1])[: self.top]
        return [(str(label), round(share, 6)) for label, share in shares]

    def line(self, answer: Mapping[str, Any]) -> str:
        """Return the best labels on one line; of several each with its probability."""
        if self.several and self.top == 1:
            return self.separator.join(self.labels(answer))
        found = self.best(answer)
        if self.top == 1:
            return found[0][0]
        return "\t".join(f"{label}\t{share:.4f}" for label, share in found)

    def as_json(self, answer: Any) -> Any:
        """Return an answer as JSON shows it: without hidden keys, with the chosen labels."""
        if answer is None:
            return None
        if self.several:
            shown = dict(self.best(answer)) if self.top > 1 else answer["probabilities"]
            return {"labels": self.labels(answer), "probabilities": shown}
        if self.top > 1 or self.threshold > 0:
            shown = dict(self._most_probable(answer)) if self.top > 1 else answer["probabilities"]
            return {"label": self.best(answer)[0][0], "probabilities": shown}
        if not isinstance(answer, dict):
            return {"answer": answer}
        return {key: value for key, value in answer.items() if key not in self.task.hidden_keys}


def predicted(names: Iterable[str], taken: Container[str]) -> dict[str, str]:
    """Return the new name of each answer column whose name is `taken` by a column of the rows.

    Rows that were answered before hold `predicted_label` too: then it is `predicted_2_label`.
    """
    names = [*names]
    found: dict[str, str] = {}
    for name in names:
        if name in taken:
            numbered = (f"predicted_{number}_{name}" for number in count(2))
            new = chain([f"predicted_{name}"], numbered)
            found[name] = next(one for one in new if one not in taken and one not in names)
    return found


def answers(
    task: Task,
    inputs: Sequence[Row],
    precision: str,
    evaluation: EvaluationConfig | None = None,
    generation: GenerationConfig | None = None,
    cut: list[str] | None = None,
) -> Iterator[Any]:
    """Yield the answers to input rows, None for an empty one: see `zoo.task.predict_rows`."""
    empty = [all(map(is_empty, row.values())) for row in inputs]
    asked = (row for row, nothing in zip(inputs, empty, strict=True) if not nothing)
    found = predict_rows(task, asked, precision, evaluation, generation, cut)
    for nothing in empty:
        yield None if nothing else next(found)


def _numbered(names: Sequence[str], count: int) -> list[str]:
    """Return `label, label_2, label_3`: the names, repeated with a number."""
    return [name if n == 1 else f"{name}_{n}" for n in range(1, count + 1) for name in names]


class RowFormat:
    """Turns rows and their answers into lines of one file format."""

    def __init__(self, form: str, names: Sequence[str], separator: str = " ") -> None:
        """`names` are the columns of the answers; `separator` stands between their items."""
        self.separator = separator
        self.form = form
        self.names = [*names]
        self.header: list[str] = []
        self.renamed: dict[str, str] = {}  # of an answer's columns, which the rows have already
        self.blanked = 0  # cells of a .tsv file in which blanks replace tabs and line ends

    def begin(self, row: Row) -> None:
        """Take the columns of the first row; an answer's column of the same name is renamed."""
        self.header = [*row]
        self.renamed = predicted(self.names, row)
        self.names = [self.renamed.get(name, name) for name in self.names]

    def head(self) -> str:
        """Return what stands before the first row: the names of the columns of a table."""
        tabular = self.form in ("csv", "tsv")
        return self._cells([*self.header, *self.names]) if tabular else ""

    def lines(self, row: Row, values: Sequence[Any]) -> str:
        """Return a row as text, after `begin`. Raises RowError."""
        if taken := [name for name in self.names if name in row]:
            raise RowError(row.source, f"a column {taken[0]!r}, which the first row does not have")
        answers = dict(zip(self.names, values, strict=True))
        if self.form == "jsonl":
            return json.dumps({**row, **answers}, ensure_ascii=False) + "\n"
        if self.form == "conll":
            return _column_lines(row, values[0])
        if more := [name for name in row if name not in self.header]:
            raise RowError(row.source, f"a column {more[0]!r} is new: write a .jsonl file")
        joined = (
            self.separator.join(map(str, value)) if isinstance(value, list) else value
            for value in values
        )
        return self._cells([*(row.get(name) for name in self.header), *joined])

    def _cells(self, values: Sequence[Any]) -> str:
        """Return one line of a table."""
        cells = [_cell(value) for value in values]
        if self.form == "csv":
            line = io.StringIO()
            csv.writer(line, lineterminator="\n").writerow(cells)
            return line.getvalue()
        plain = [re.sub(r"[\t\r\n]+", " ", cell) for cell in cells]
        self.blanked += sum(a != b for a, b in zip(cells, plain, strict=True))
        return "\t".join(plain) + "\n"


def _cell(value: Any) -> str:
    """Return a value as the text of a cell; words and labels with blanks between."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)


def _column_lines(row: Row, labels: Sequence[str] | None) -> str:
    """Return a line per word: the word, its other columns, and its label behind them."""
    words = row.get("words")
    if not isinstance(words, list):
        raise RowError(row.source, "a column file needs words in each row: write .jsonl")
    others = [
        value
        for name, value in row.items()
        if name != "words" and isinstance(value, list) and len(value) == len(words)
    ]
    columns = [words, *others, labels or [""] * len(words)]
    lines = (
        "\t".join(" ".join(str(cell).split("\t")) for cell in cells)
        for cells in zip(*columns, strict=True)
    )
    return "".join(f"{line}\n" for line in lines) + "\n"
