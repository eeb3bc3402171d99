"""Translation: the encoder runs once, the decoder step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from zoo.data.readers import Row, column
from zoo.generation.texts import until_stop_string
from zoo.runtime.folder import Folder
from zoo.runtime.generation import Generation
from zoo.runtime.generative import Generative
from zoo.runtime.model import Example
from zoo.runtime.search import Hypothesis, generate, wrapped
from zoo.text.special_ids import EOS
from zoo.text.tokenizers import Tokenizer

PARTS = ("h", "c")  # of the state of an LSTM; a GRU has h alone

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


class Translate(Generative):
    """An exported encoder and decoder."""

    task: ClassVar[str] = "translate"
    columns: ClassVar[tuple[str, ...]] = ("source",)

    def __init__(self, folder: Folder, threads: int) -> None:
        super().__init__(folder, threads)
        self.next = folder.session("next.onnx", threads)

    @property
    def output_tokenizer(self) -> Tokenizer:
        """The tokenizer of the target side."""
        processors = self.folder.processors
        return cast(Tokenizer, processors.get("target_tokenizer", processors["tokenizer"]))

    def encode(self, row: Row) -> Example:
        source = column(row, "source")
        ids = self.tokenizer.encode(source) if source.strip() else []  # white: an empty answer
        return {"inputs": [*ids, EOS][: self.options["max_length"] + 1]}

    def answer(self, examples: Sequence[Example], **options: Any) -> list[dict[str, Any]]:
        config = options["config"]
        answers = []
        for found in self.search(examples, config):
            n_best = [{"text": self._text(h, config), "score": h.score} for h in found]
            answers.append({"text": n_best[0]["text"], "ids": found[0].ids, "n_best": n_best})
        return answers

    def search(self, examples: Sequence[Example], config: Generation) -> list[list[Hypothesis]]:
        """Return translations of each example of a batch, best first."""
        inputs = self._inputs(examples)
        lengths = inputs["lengths"]
        limits = np.where(lengths <= 1, 0, 3 * lengths + 10)  # EOS alone: an empty translation
        decoder = Decoder(self.next, self.run(inputs), lengths, self.options)
        decode = self.output_tokenizer.decode
        return generate(wrapped(decoder, config, decode), limits, config, (EOS,))

    def _text(self, hypothesis: Hypothesis, config: Generation) -> str:
        text = self.output_tokenizer.decode(hypothesis.ids)
        return "".join(until_stop_string([text], config.stop))


class Decoder:
    """A decoder as a `zoo.runtime.search.StepModel`; the encoder's results are its first state."""

    def __init__(
        self,
        run: Run,
        encoded: dict[str, np.ndarray],
        lengths: np.ndarray,
        options: Mapping[str, Any],
    ) -> None:
        self.run = run
        self.width = 1  # prefixes of each text
        texts = len(lengths)
        zero = np.zeros((options["num_layers"], texts, options["hidden_size"]), np.float32)
        self.parts = options.get("state", PARTS)
        self.state: dict[str, np.ndarray] = {n: encoded.get(n, zero) for n in self.parts}
        self.fed: np.ndarray | None = None
        if options["input_feeding"]:
            self.fed = np.zeros((texts, options["size"]), np.float32)
        self.memory: dict[str, np.ndarray] = {
            name: encoded[name] for name in ("values", "keys") if name in encoded
        }
        if self.memory:
            beyond = np.arange(encoded["values"].shape[1]) >= np.maximum(lengths, 1)[:, None]
            padding = np.where(beyond, np.float32(-np.inf), np.float32(0))
            self.memory["padding"] = padding[:, None]

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Return log-probabilities (texts, prefixes, vocabulary) after ids (texts, prefixes)."""
        self.width = ids.shape[1]
        inputs = {"ids": ids, **self.state, **self.memory}
        if self.fed is not None:
            inputs["fed"] = self.fed
        found = self.run(inputs)
        self.state = {part: found[f"{part}_n"] for part in self.parts}
        self.fed = found.get("fed_n")
        logs = found["log_probabilities"].reshape(*ids.shape, -1)
        logs[..., :EOS] = -np.inf  # PAD, UNK and BOS are never written
        return logs

    def reorder(self, texts: np.ndarray, prefixes: np.ndarray) -> None:
        """Continue with these texts, and with these prefixes of each."""
        if self.memory and len(texts) < len(self.memory["values"]):
            self.memory = {name: value[texts] for name, value in self.memory.items()}
        rows = (texts[:, None] * self.width + prefixes).ravel()
        self.state = {name: value[:, rows] for name, value in self.state.items()}
        if self.fed is not None:
            self.fed = self.fed[rows]
