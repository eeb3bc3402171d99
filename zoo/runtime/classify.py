"""Classification: logits become labels and their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np

from zoo.data import features
from zoo.data.processors import MOST_LABELS, LabelEncoder, Scaler, decide
from zoo.data.readers import Row, column
from zoo.errors import InputError
from zoo.runtime.folder import Folder
from zoo.runtime.model import Example, Model, best_of, log_softmax, padded
from zoo.text.ngrams import NgramVocabulary
from zoo.text.special_ids import EOS


class Classify(Model):
    """An exported classifier, of one label for each text or of several."""

    task: ClassVar[str] = "classify"

    def __init__(self, folder: Folder, threads: int) -> None:
        super().__init__(folder, threads)
        self.labels = cast(LabelEncoder, folder.processors["labels"]).labels
        self.thresholds: dict[str, float] | None = None
        if self.options["thresholds"] is not None:
            pairs = zip(self.labels, self.options["thresholds"], strict=True)
            self.thresholds = dict(pairs)

    def predict(self, inputs: Any, probabilities: bool = False) -> list[Any]:
        """Return the labels of texts, or with `probabilities` a {label: probability} of each."""
        key = "labels" if self.thresholds is not None else "label"
        return [a["probabilities" if probabilities else key] for a in self.answers(inputs)]

    def answers(self, inputs: Any, top: int | None = None) -> list[dict[str, Any]]:
        """Return {"label", "probabilities"} of each text; of several labels {"labels", …}.

        `top` keeps the most probable labels alone, the first one first.
        """
        if top is not None and (isinstance(top, bool) or not isinstance(top, int) or top < 1):
            raise InputError(f"top={top!r}: a number from 1 is needed")
        found = self.answer_rows(self.rows(inputs))
        return [a | {"probabilities": best_of(a["probabilities"], top)} for a in found]

    def encode(self, row: Row) -> Example:
        most = self.options["max_length"]
        if self.of_features:
            scaler = cast(Scaler, self.folder.processors["scaler"])
            return {"inputs": features.encode(row, "text", scaler)[:most]}
        text = column(row, "text")
        end = [EOS] if self.options["append_eos"] else []
        example: Example = {"inputs": [*self.tokenizer.encode(text)[:most], *end]}
        if "ngrams" in self.folder.processors:
            known = cast(NgramVocabulary, self.folder.processors["ngrams"])
            example["ngrams"], example["ngram_weights"] = known.encode(text)
        return example

    def logits(self, examples: Sequence[Example]) -> np.ndarray:
        """Return the logits (batch, labels) of a batch."""
        inputs = self._inputs(examples)
        if "ngrams" in self.folder.processors:
            rows = [example["ngrams"] for example in examples]
            width = max(1, *map(len, rows))
            inputs["ngrams"] = padded(rows, width)
            weights = np.zeros((len(rows), width), np.float32)
            for own, example in zip(weights, examples, strict=True):
                own[: len(example["ngram_weights"])] = example["ngram_weights"]
            inputs["ngram_weights"] = weights
        return self.run(inputs)["logits"]

    def answer(self, examples: Sequence[Example], **options: Any) -> list[dict[str, Any]]:
        logits = self.logits(examples)
        if self.thresholds is not None:
            shares = 1 / (1 + np.exp(-logits.astype(np.float64)))
        else:
            shares = np.exp(log_softmax(logits.astype(np.float64)))
        answers = []
        for row in shares.astype(np.float32).tolist():
            numbers = range(len(row))
            if len(row) > MOST_LABELS:
                numbers = sorted(numbers, key=lambda i, row=row: -row[i])[:MOST_LABELS]  # type: ignore[misc, assignment]
            known = {self.labels[i]: row[i] for i in numbers}
            if self.thresholds is not None:
                answers.append({"labels": decide(known, self.thresholds), "probabilities": known})
            else:
                best = max(known, key=lambda label, known=known: known[label])  # type: ignore[misc]
                answers.append({"label": best, "probabilities": known})
        return answers
