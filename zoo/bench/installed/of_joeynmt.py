"""Compare with JoeyNMT's recurrent model: an LSTM encoder, attention, an LSTM decoder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from zoo.bench.installed.sides import (
    SECONDS,
    TIMED,
    Corpus,
    Ours,
    adam,
    score,
    train_for,
)
from zoo.bench.measure import case, interleave
from zoo.config import Settings
from zoo.data.batch import Example
from zoo.data.readers import Row
from zoo.device import find_precision
from zoo.evaluation import metrics
from zoo.generation.config import GenerationConfig
from zoo.task import predict_rows
from zoo.text.special_ids import BOS, EOS, PAD, UNK

# JoeyNMT has its own order of special ids; all other ids are ours.
THEIRS = {UNK: 0, PAD: 1, BOS: 2, EOS: 3}
OURS = {their: own for own, their in THEIRS.items()}
SPECIALS = {"unk": 0, "pad": 1, "bos": 2, "eos": 3}
BEAM = GenerationConfig().beam_size
CLIP = 1.0
SEARCHED = 128  # sentences of a round of beam search, of which each side writes LENGTH tokens
LENGTH = 15  # for an untrained model does not know where to end
JUDGED = 256  # sentences whose translations are scored


def cases(settings: Settings, rounds: int, corpus: Corpus) -> Iterator[dict[str, Any]]:
    """Measure BLEU after equally many seconds, beam search with these models, training steps."""
    rows, held, task = corpus.learned, corpus.judged, corpus.task
    ours = Ours(settings, rows, task, "target")
    theirs = _Translator(task)
    batches = theirs.batches(ours.examples.encoded, settings)
    again = (partial(theirs.step, batch) for batch in cycle(batches))
    train_for(SECONDS, again)
    train_for(SECONDS, ours.steps())
    judged = [task.encode(row) for row in held]
    what = f"validation perplexity after {SECONDS:.0f} s, against JoeyNMT"
    own, peer = ours.perplexity(judged), theirs.perplexity(judged)
    yield score(what, own, peer, "per token", lower_is_better=True)
    asked = [Row({"source": row["source"]}, row.source) for row in held[:JUDGED]]
    wanted = [str(row["target"]) for row in held[:JUDGED]]
    sources = [task.encode(row) for row in asked]
    found = [answer["text"] for answer in ours.answers(asked)]
    own = metrics.translation(found, wanted)["bleu"]
    peer = metrics.translation(theirs.translate(sources), wanted)["bleu"]
    what = f"validation BLEU after {SECONDS:.0f} s, against JoeyNMT"
    yield score(what, own, peer, "BLEU")
    del asked[SEARCHED:], sources[SEARCHED:]
    alike = GenerationConfig(min_length=LENGTH, max_length=LENGTH)
    precision = find_precision("auto", task.device)
    searched = interleave(
        {
            "ours": lambda: list(predict_rows(task, asked, precision, config=alike)),
            "theirs": lambda: theirs.translate(sources, LENGTH),
        },
        rounds,
    )
    what = f"beam {BEAM}, against JoeyNMT"
    tokens = LENGTH * len(asked)
    yield case(what, "written tokens/s", tokens, searched["ours"], searched["theirs"])
    ours = Ours(settings, rows[:TIMED], task, "target")
    some = theirs.batches(ours.examples.encoded, settings)
    tokens = sum(len(example["targets"]) for example in ours.examples.encoded)

    def epoch() -> None:
        for batch in some:
            theirs.step(batch)

    yield from ours.compare(epoch, tokens, "target tokens/s", "JoeyNMT", rounds)


class _Translator:
    """JoeyNMT's model with the sizes of our task."""

    def __init__(self, task: Any) -> None:
        from joeynmt.model import build_model
        from joeynmt.vocabulary import Vocabulary

        config, decoder = task.backbone.config, task.decoder.backbone.lstm
        names = {f"{name}_token": f"<{name}>" for name in SPECIALS}
        ids = {f"{name}_id": number for name, number in SPECIALS.items()}
        symbols = SimpleNamespace(**names, **ids, lang_tags=[], sep_token=None, sep_id=None)
        count = config.vocabulary_size - len(SPECIALS)
        words = Vocabulary([f"w{number}" for number in range(count)], symbols)
        embeddings = {"embedding_dim": config.embedding_size}
        sizes = {
            "encoder": {
                "type": "recurrent",
                "rnn_type": "lstm",
                "embeddings": embeddings,
                "hidden_size": config.hidden_size,
                "bidirectional": True,
                "num_layers": config.num_layers,
                "dropout": 0.3,
            },
            "decoder": {
                "type": "recurrent",
                "rnn_type": "lstm",
                "embeddings": embeddings,
                "hidden_size": decoder.hidden_size,
                "num_layers": decoder.num_layers,
                "dropout": 0.3,
                "attention": "luong",
                "input_feeding": True,
                "init_hidden": "bridge",
            },
        }
        self.model = build_model(sizes, words, words).to(task.device)
        self.model.loss_function = ("crossentropy", 0.0)
        self.task, self.device = task, task.device
        self.optimizer = adam(self.model.parameters())

    def batches(self, examples: Sequence[Example], settings: Settings) -> list[Any]:
        """Return batches of rows of like source length, at most as many rows as ours have."""
        order = np.argsort([len(example["inputs"]) for example in examples], kind="stable")
        size = settings.train.batch_rows
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        np.random.default_rng(settings.seed).shuffle(groups)
        return [self.batch([examples[number] for number in group], True) for group in groups]

    def batch(self, examples: Sequence[Example], learned: bool) -> Any:
        """Return JoeyNMT's batch of examples, the longest source first."""
        from joeynmt.batch import Batch

        examples = sorted(examples, key=lambda example: -len(example["inputs"]))
        source = [_theirs(example["inputs"]) for example in examples]
        target = None
        if learned:
            rows = [_theirs([BOS, *example["targets"]]) for example in examples]
            target = pad_sequence(rows, True, THEIRS[PAD])
        return Batch(
            src=pad_sequence(source, True, THEIRS[PAD]),
            src_length=torch.tensor([len(ids) for ids in source]),
            src_prompt_mask=None,
            trg=target,
            trg_prompt_mask=None,
            indices=torch.arange(len(source)),
            device=self.device,
            pad_index=THEIRS[PAD],
            eos_index=THEIRS[EOS],
            is_train=learned,
        )

    def step(self, batch: Any) -> None:
        """Take one training step, as its own trainer does."""
        self.model.train()
        loss, *_ = self.model(return_type="loss", **vars(batch))
        (loss / batch.ntokens).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def perplexity(self, examples: Sequence[Example]) -> float:
        """Return the perplexity per target token."""
        self.model.eval()
        nats, tokens = 0.0, 0
        for start in range(0, len(examples), 64):
            batch = self.batch(examples[start : start + 64], True)
            loss, *_ = self.model(return_type="loss", **vars(batch))
            nats += loss.item()
            tokens += int(batch.ntokens)
        return math.exp(nats / tokens)

    @torch.no_grad()
    def translate(self, examples: Sequence[Example], length: int | None = None) -> list[str]:
        """Return translations, searched in batches of 64 as its documentation shows.

        Each of them has `length` tokens; None leaves that to the model.
        """
        from joeynmt.search import search

        self.model.eval()
        order = np.argsort([-len(example["inputs"]) for example in examples], kind="stable")
        texts = [""] * len(examples)
        for start in range(0, len(order), 64):
            numbers = order[start : start + 64]  # the longest first, as `batch` sorts
            batch = self.batch([examples[number] for number in numbers], False)
            found, *_ = search(
                self.model, batch, length or -1, BEAM, 1.0, min_output_length=length or 1
            )
            for number, ids in zip(numbers, found.tolist(), strict=True):
                texts[number] = self.decode([OURS.get(one, one) for one in ids])
        return texts

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of our ids, up to the first EOS."""
        end = [*ids, EOS].index(EOS)
        return self.task.output_tokenizer.decode(ids[:end])


def _theirs(ids: Sequence[int]) -> Tensor:
    """Return ids in JoeyNMT's order."""
    return torch.tensor([THEIRS.get(number, number) for number in ids])
