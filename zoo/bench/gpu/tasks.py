"""Part "tasks" compares training, decoding and writing with the tutorials' loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from zoo.bench import classify, generate, sides, tag, translate
from zoo.bench.gpu.parts import Measurement, Setting

ROUNDS = 3
Cases = Callable[[Sequence[str], int], Iterator[dict[str, Any]]]

SOME = "data.locales=[en,de,fr,es,it,ja,ko,ru,ar,hi,pt,nl]"  # preparing all of them takes long

# These batches fill a GPU. The recipes' own are for a processor.
LARGE: dict[str, tuple[Cases, list[str]]] = {
    "generate": (
        generate.quick,
        [
            "backbone.embedding_size=640",
            "backbone.hidden_size=640",
            "train.batch_rows=128",
            "train.batch_tokens=4480",
        ],
    ),
    "translate": (
        translate.translate,
        [
            "backbone.embedding_size=512",
            "backbone.hidden_size=512",
            "train.batch_rows=256",
            "train.batch_tokens=32768",
        ],
    ),
    "classify": (
        classify.classify,
        [
            SOME,
            "data.documents=700",
            "tokenizer.size=4000",
            "backbone.embedding_size=256",
            "backbone.hidden_size=512",
            "backbone.num_layers=2",
            "train.batch_rows=256",
            "train.batch_tokens=65536",
        ],
    ),
    "tag": (
        tag.tag,
        [
            SOME,
            "data.sentences=700",
            "backbone.embedding_size=256",
            "backbone.hidden_size=512",
            "train.batch_rows=256",
            "train.batch_tokens=65536",
        ],
    ),
}
TINY = [
    "backbone.embedding_size=8",
    "backbone.hidden_size=8",
    "train.batch_rows=8",
    "train.batch_tokens=256",
    "precision=fp32",
]
FEW = {  # a rehearsal reads so much of the embedded corpora
    "classify": ["data.locales=[en,de]", "data.documents=20", "tokenizer.size=400"],
    "tag": ["data.locales=[en,de]", "data.sentences=20"],
}
ROWS = 8192  # number of an embedded corpus's rows in a round
TOKENS = 200  # tokens that a language model writes in a round
# A rehearsal measures less of what the modules measure.
COUNTS: list[tuple[Any, dict[str, int]]] = [
    (sides, {"ROWS": 16}),
    (classify, {"TEXTS": 4}),
    (translate, {"ROWS": 16, "SENTENCES": 2, "VOCABULARY": 64}),
    (tag, {"SENTENCES": 4}),
    (generate, {"WORDS": 64, "WINDOWS": 2, "WRITTEN": 3}),
]


def measurements(setting: Setting) -> list[Measurement]:
    """Return a measurement for each task."""
    large = [(sides, {"ROWS": ROWS}), (generate, {"WRITTEN": TOKENS})]
    changed = COUNTS if setting.small else large
    for module, counts in changed:
        vars(module).update(counts)  # this process measures nothing else
    return [
        Measurement(name, partial(cases, _settings(name, setting), _rounds(setting)), 0.4)
        for name, (cases, _) in LARGE.items()
    ]


def _settings(name: str, setting: Setting) -> list[str]:
    """Return the settings of a task's benchmark."""
    device = f"device={setting.device}"
    if not setting.small:
        return [device, *LARGE[name][1]]
    return [device, *TINY, *FEW.get(name, ())]


def _rounds(setting: Setting) -> int:
    return 1 if setting.small else ROUNDS
