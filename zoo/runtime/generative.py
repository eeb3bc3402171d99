"""Generative: the base class of exported models that write texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zoo.runtime.folder import CONFIG, Folder
from zoo.runtime.generation import Generation, generation_of
from zoo.runtime.model import Model


class Generative(Model):
    """An exported model that generates text. How it does so is an argument of each call.

    A config is a dict of some values, or a `zoo.GenerationConfig`. What it lacks is as the model
    folder has it.
    """

    def __init__(self, folder: Folder, threads: int) -> None:
        super().__init__(folder, threads)
        self.generation = self.config(None)

    def config(self, given: Any) -> Generation:
        """Return the checked generation config of a call. Raises InputError."""
        return generation_of(self.folder.generation, given, self.folder.path / CONFIG)

    def predict(self, inputs: Any, config: Any = None) -> list[Any]:
        """Generate a text for each input, or with `n_best` above 1 a list of the best."""
        several = self.config(config).n_best > 1
        texts = [[found["text"] for found in a["n_best"]] for a in self.answers(inputs, config)]
        return texts if several else [each[0] for each in texts]

    def answers(self, inputs: Any, config: Any = None) -> list[dict[str, Any]]:
        """Return {"text", "n_best": [{"text", "score"}, …]} of each input."""
        return [*self.answer_rows(self.rows(inputs), config=self.config(config))]

    def stream(self, prompt: str, config: Any = None) -> Iterator[str]:
        """Yield the answer to one text in pieces, as they are produced."""
        yield " ".join(self.answers([prompt], config)[0]["text"].splitlines())
