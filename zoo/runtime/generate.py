"""Text generation: a prompt is read once, then each token costs one step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from zoo.data.readers import Row, column
from zoo.generation.texts import (
    as_typed,
    decode_steps,
    decode_stream,
    encode_stream,
    join_texts,
    until_stop_string,
)
from zoo.runtime.folder import Folder
from zoo.runtime.generative import Generative
from zoo.runtime.model import Example, log_softmax
from zoo.runtime.search import generate, sample_steps, wrapped
from zoo.text.canonical import encodable
from zoo.text.special_ids import EOS

PARTS = ("h", "c")  # of the state of an LSTM; a GRU has h alone
LEAST = 0.01  # share of the tokens that may be written, from which a subtraction is exact enough


class Generate(Generative):
    """An exported language model."""

    task: ClassVar[str] = "generate"
    columns: ClassVar[tuple[str, ...]] = ("prompt",)

    def __init__(self, folder: Folder, threads: int) -> None:
        super().__init__(folder, threads)
        self.stop_ids = () if self.options["stream"] else (EOS,)

    def encode(self, row: Row) -> Example:
        return {"inputs": [EOS, *self._ids(column(row, "prompt"))]}

    def _ids(self, text: str) -> list[int]:
        return encode_stream(self.tokenizer, text, self.options["stream"])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return decode_stream(self.tokenizer, ids, self.options["stream"])

    def answer_rows(self, rows: Iterable[Row], **options: Any) -> Iterator[dict[str, Any]]:
        listed = [*rows]
        for row, answer in zip(listed, super().answer_rows(listed, **options), strict=True):
            typed = column(row, "prompt")
            yield as_typed(answer, typed, self.decode(self._ids(typed)))

    def answer(self, examples: Sequence[Example], **options: Any) -> list[dict[str, Any]]:
        config = options["config"]
        prompts = [example["inputs"][1:] for example in examples]
        step_model = wrapped(Steps(self, examples), config, self.decode, prompts)
        limits = np.full(len(examples), config.max_length, np.int64)
        answers = []
        found = generate(step_model, limits, config, self.stop_ids)
        for prompt, hypotheses in zip(prompts, found, strict=True):
            ids = [hypothesis.ids for hypothesis in hypotheses]
            texts = join_texts(self.decode, prompt, ids, config.stop)
            pairs = zip(texts, hypotheses, strict=True)
            n_best = [{"text": text, "score": hypothesis.score} for text, hypothesis in pairs]
            answers.append({"text": texts[0], "n_best": n_best})
        return answers

    def stream(self, prompt: str, config: Any = None) -> Iterator[str]:
        """Yield the prompt, then its continuation in pieces. A beam search yields all at once."""
        chosen = self.config(config)
        prompt = encodable(prompt)
        if not chosen.sample and chosen.beam_size > 1:
            yield self.predict(prompt, replace(chosen, n_best=1))[0]
            return
        yield prompt
        chosen = replace(chosen, n_best=1, beam_size=1)
        example = self.encode(Row({"prompt": prompt}, "prompt"))
        ids = example["inputs"][1:]
        step_model = wrapped(Steps(self, [example]), chosen, self.decode, [ids])
        limits = np.array([chosen.max_length])
        steps = sample_steps(step_model, limits, chosen, self.stop_ids)
        tokens = (int(token[0, 0]) for _, token, _ in steps)
        pieces = decode_steps(self.decode, ids, tokens, self.stop_ids)
        yield from until_stop_string(pieces, chosen.stop)

    def score(self, text: str) -> list[float]:
        """Return the log-probability of each token of a text, its end included.

        Their negative mean, as an exponent of e, is the perplexity.
        """
        targets = [*self._ids(text), EOS]
        state = self.start(1)
        found = []
        for token, wanted in zip([EOS, *targets[:-1]], targets, strict=True):
            logs, state = self.read(np.array([[token]]), np.ones(1, np.int64), state)
            found.append(float(logs[0, wanted]))
        return found

    def start(self, texts: int) -> dict[str, np.ndarray]:
        """Return the state before the first token."""
        if self.options["start"] is not None:
            return {
                name: np.repeat(np.array(value, np.float32)[:, None], texts, 1)
                for name, value in self.options["start"].items()
            }
        shape = self.options["num_layers"], texts, self.options["hidden_size"]
        return {part: np.zeros(shape, np.float32) for part in self.options.get("state", PARTS)}

    def read(
        self, ids: np.ndarray, lengths: np.ndarray, state: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Read ids (batch, time). Return log-probabilities (batch, vocabulary) and the new state."""
        found = self.run({"ids": ids, "lengths": lengths, **state})
        return found["log_probabilities"], {part: found[f"{part}_n"] for part in state}


class Steps:
    """A language model as a `zoo.runtime.search.StepModel`. The prompts are read once."""

    def __init__(self, model: Generate, examples: Sequence[Example]) -> None:
        self.model = model
        self.width = 1  # prefixes of each text
        inputs = model._inputs(examples)
        first = model.start(len(examples))
        self.next: np.ndarray | None
        self.next, self.state = model.read(inputs["ids"], inputs["lengths"], first)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Return log-probabilities (texts, prefixes, vocabulary) after ids (texts, prefixes)."""
        self.width = ids.shape[1]
        logs = self.next  # of the prompts, at the first step: then the ids are all BOS
        self.next = None
        if logs is None:
            flat = ids.reshape(-1, 1)
            logs, self.state = self.model.read(flat, np.ones(len(flat), np.int64), self.state)
        return _without_specials(logs).reshape(*ids.shape, -1)

    def reorder(self, texts: np.ndarray, prefixes: np.ndarray) -> None:
        """Keep only texts (kept,), and their prefixes (kept, width)."""
        rows = (texts[:, None] * self.width + prefixes).ravel()
        self.state = {name: value[:, rows] for name, value in self.state.items()}


def _without_specials(logs: np.ndarray) -> np.ndarray:
    """Return log-probabilities without PAD, UNK and BOS, which are never written."""
    rest = 1 - np.exp(logs[:, :EOS].astype(np.float64)).sum(1, keepdims=True)
    logs[:, :EOS] = -np.inf
    if rest.min() < LEAST:
        return log_softmax(logs)
    return logs - np.log(rest).astype(np.float32)
