"""The language model benchmark covers all cases, and both sides compute the same thing."""

from __future__ import annotations

import pytest
import torch

from zoo.bench import generate, peers
from zoo.text.special_ids import BOS, EOS

SMALL = {
    "WORDS": 60,
    "WINDOWS": 2,
    "WRITTEN": 3,
    "LONG": 8,
    "EDGE": 2,
    "CORPORA": (200, 4000),
}
SIZES = ["backbone.embedding_size=8", "backbone.hidden_size=8", "train.batch_rows=4"]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(generate, name, value)


def test_training_writing_and_memory_are_measured():
    cases = [*generate.generate([*SIZES, "train.batch_tokens=24", "device=cpu"], 1)]
    names = [case["name"] for case in cases]
    assert "training step, full softmax, fp32, against the example in fp32" in names
    assert sum("adaptive softmax" in name for name in names) == 1
    for batch in (1, 64):
        assert f"writing, batch {batch}, against the example's loop" in names
        assert f"writing, batch {batch}, the last of 8 tokens against the first" in names
    assert "memory, a corpus of 4,000 tokens against 200" in names
    for case in cases:
        assert case["ratio"] == pytest.approx(case["ours"] / case["peer"])


def test_the_example_gives_the_same_loss_with_the_same_weights(tmp_path):
    settings = generate.check(generate.compose(["task=generate", *generate.EXAMPLE, *SIZES]))
    ours = generate._model(settings, "full").eval()
    peer = peers.WordLanguageModel(60, 8, 2).eval()
    peer.rnn.load_state_dict(ours.backbone.lstm.state_dict())
    with torch.no_grad():
        peer.encoder.weight.copy_(ours.backbone.embedding.weight)
        peer.decoder.weight.copy_(ours.tokens.weight)
        peer.decoder.bias.copy_(ours.tokens.bias.normal_())
        stream = generate.drawn(tmp_path / "ids", 48)
        batch = ours.collate(stream.examples(next(iter(stream.sampler(48, 4)))))
        logs, _ = peer(batch.inputs.t(), None)
        wanted = torch.nn.functional.nll_loss(logs, batch.targets.t().flatten())
        torch.testing.assert_close(ours.training_step(batch).loss, wanted)
        assert wanted > 3


def test_the_example_learns_and_draws():
    torch.manual_seed(1)
    peer = peers.WordLanguageModel(60, 8, 2)
    ids, state = torch.tensor([[BOS, 5, 6, 7]] * 2).t(), None
    losses = []
    for _ in range(150):
        state = peer.learn(ids, ids.roll(-1, 0), state, 2.0)
        with torch.no_grad():
            logs, _ = peer.eval()(ids, None)
        losses.append(float(torch.nn.functional.nll_loss(logs, ids.roll(-1, 0).flatten())))
    assert losses[-1] < losses[0] / 2
    assert peer.draw(3, 5).shape == (5, 3)


def test_drawn_ids_are_words_and_the_frequent_ones_come_first(tmp_path):
    stream = generate.drawn(tmp_path / "ids", 150_000)
    counts = torch.bincount(torch.from_numpy(stream.tokens.astype("int64")), minlength=60)
    assert len(stream.tokens) == 150_000
    assert counts[: EOS + 1].sum() == 0
    assert counts[4] > counts[20] > counts[59] > 0


def test_a_batch_of_prompts_is_written_to_its_end():
    settings = generate.check(generate.compose(["task=generate", *generate.EXAMPLE, *SIZES]))
    seconds = generate._write(generate._model(settings, "full"), 3, 7)
    assert len(seconds) == 8  # and the end
    assert seconds == sorted(seconds)
