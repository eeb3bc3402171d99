"""Both sides of a benchmark compute the same thing: a peer with our weights gives our results."""

from __future__ import annotations

import torch
import translate_cases
from backbone_cases import make_backbone

from zoo.bench import peers
from zoo.data.batch import collate
from zoo.rnn.lstm import LSTM


def test_the_tutorials_model_gives_the_same_final_states_with_the_same_weights():
    """The peer is the real thing: with our weights its packed run equals our dense one."""
    torch.manual_seed(0)
    peer = peers.PackedClassifier(20, 6, 5, 2, 3).eval()
    backbone = make_backbone(20, embedding_size=6, hidden_size=5, num_layers=2).eval()
    backbone.lstm.load_state_dict(peer.lstm.state_dict())
    assert backbone.embedding is not None
    backbone.embedding.load_state_dict(peer.embedding.state_dict())
    batch = collate([{"inputs": [4, 5, 6]}, {"inputs": [7]}, {"inputs": [8, 9]}])
    encoded = backbone(batch.inputs, batch.lengths)
    ours = peer.head(torch.cat([encoded.h_n[-2], encoded.h_n[-1]], -1))
    torch.testing.assert_close(ours, peer(batch))


def test_the_step_by_step_translator_gives_the_same_logits_with_the_same_weights():
    """The peer is the real thing: it is ours with input feeding, packed and written by the step."""
    task = translate_cases.translate(scale=0.5, attention="general", input_feeding=True)
    peer = peers.StepwiseTranslator(len(task.tokenizer), 8, 6, 12).eval()
    ours = {
        "embedding": task.backbone.embedding,
        "encoder": task.backbone.lstm,
        "bridge_h": task.bridge.h[0],
        "bridge_c": task.bridge.c[0],
        "decoder": task.decoder.backbone.lstm,
        "key": task.decoder.attention.key,
        "mix": task.decoder.mix,
    }
    for name, part in ours.items():
        peer.get_submodule(name).load_state_dict(part.state_dict())
    with torch.no_grad():
        peer.head.weight.copy_(task.backbone.embedding.weight)
        peer.head.bias.copy_(task.tokens.bias)
        batch = translate_cases.batch(task)
        logits = peer(batch)
        torch.testing.assert_close(logits, task(batch))
        row = translate_cases.batch(task, translate_cases.ROWS[:1])
        first = int(peer(row)[0, 0].argmax())
        assert peer.greedy(row, 1) == [first]


def halves(lstm, at):
    """The rows of gate `at` (i, f, g, o) of an LSTM's two weights and two biases."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return [lstm.get_parameter(name).chunk(4)[at] for name in names]


@torch.no_grad()
def test_the_loop_of_eight_linear_computes_an_lstm():
    ours, x = LSTM(3, 4), torch.randn(5, 2, 3)
    naive = peers.NaiveLSTM(3, 4)
    for at, (a, b) in enumerate(zip(naive.from_input, naive.from_hidden, strict=True)):
        own = (a.weight, b.weight, a.bias, b.bias)
        for mine, theirs in zip(own, halves(ours, at), strict=True):
            mine.copy_(theirs)
    torch.testing.assert_close(naive(x), ours(x)[0])


@torch.no_grad()
def test_the_loop_with_layer_norm_computes_ours():
    ours, x = LSTM(3, 4, layer_norm=True), torch.randn(5, 2, 3)
    loop = peers.LayerNormLSTM(3, 4)
    loop.from_input.weight.copy_(ours.weight_ih_l0)
    loop.from_hidden.weight.copy_(ours.weight_hh_l0)
    loop.from_hidden.bias.copy_(ours.bias_ih_l0 + ours.bias_hh_l0)
    for parameter in ("norm_weight_l0", "norm_bias_l0"):
        torch.nn.init.normal_(ours.get_parameter(parameter))
    for norm, scale, shift in zip(loop.norms, ours.norm_weight_l0, ours.norm_bias_l0, strict=True):
        norm.weight.copy_(scale)
        norm.bias.copy_(shift)
    torch.testing.assert_close(loop(x), ours(x)[0])


@torch.no_grad()
def test_the_packed_side_is_ours_with_lengths():
    ours, x, lengths = LSTM(3, 4), torch.randn(5, 2, 3), torch.tensor([3, 5])
    packed = peers.PackedLSTM(ours, lengths)
    torch.testing.assert_close(packed(x), ours(x, None, lengths)[0])
