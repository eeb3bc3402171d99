"""Backbone: ids or features in, Encoded out, and dropout that hits what it should."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from backbone_cases import make_backbone

from zoo.errors import InputError
from zoo.nn.backbone import Backbone, BackboneConfig
from zoo.text.special_ids import PAD, UNK

SIZE = 50
LENGTHS = torch.tensor([6, 3, 0, 1])
IDS = torch.randint(4, SIZE, (4, 6), generator=torch.Generator().manual_seed(1))
IDS[torch.arange(6) >= LENGTHS.unsqueeze(1)] = PAD
FEATURES = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(2))


def make(**options):
    torch.manual_seed(1)
    options = {"embedding_size": 5, "hidden_size": 8} | options
    if "input_size" not in options:
        options = {"vocabulary_size": SIZE} | options
    return make_backbone(**options)


def parts(encoded):
    return encoded.output, encoded.h_n, encoded.c_n


def gradients(backbone, ids, lengths):
    """Results, and the gradients of their sum of squares, padding left out."""
    backbone.zero_grad()
    encoded = backbone(ids, lengths)
    real = encoded.output[:, : int(lengths.max())]
    sum(part.square().sum() for part in (real, encoded.h_n, encoded.c_n)).backward()
    return real, encoded.h_n, encoded.c_n, *(w.grad.clone() for w in backbone.parameters())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("size", "x"), [(None, IDS), (3, FEATURES)])
def test_ids_and_features_give_the_same_shapes(layers, both, size, x):
    kind = {} if size is None else {"input_size": size}
    backbone = make(num_layers=layers, bidirectional=both, **kind)
    encoded = backbone(x, LENGTHS)
    directions = 1 + both
    assert encoded.output.shape == (4, 6, 8 * directions)
    assert encoded.h_n.shape == encoded.c_n.shape == (layers * directions, 4, 8)
    assert backbone.output_size == 8 * directions
    assert encoded.lengths is LENGTHS
    assert backbone(x).lengths.tolist() == [6, 6, 6, 6]


@pytest.mark.parametrize("sizes", [{}, {"vocabulary_size": 9, "input_size": 3}])
def test_a_backbone_reads_either_ids_or_features(sizes):
    with pytest.raises(ValueError, match="give vocabulary_size or input_size"):
        Backbone(BackboneConfig(**sizes))


@pytest.mark.parametrize("wrong", [-1, SIZE, SIZE + 7])
def test_an_id_outside_the_vocabulary_is_named(wrong):
    ids = IDS.clone()
    ids[1, 1] = wrong
    with pytest.raises(ValueError, match=f"id {wrong} is outside the vocabulary of {SIZE}"):
        make()(ids, LENGTHS)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("options", [{}, {"layer_norm": True, "learned_state": True}])
def test_padding_changes_neither_results_nor_gradients(both, dtype, tolerance, options):
    backbone = make(num_layers=2, bidirectional=both, **options).to(dtype)
    wide = torch.cat([IDS, torch.full((4, 9), PAD)], 1)
    junk = wide.masked_fill(torch.arange(15) >= LENGTHS.unsqueeze(1), 7)
    wanted = gradients(backbone, IDS, LENGTHS)
    assert wanted[-1].abs().sum() > 0
    for ids in (wide, junk):
        found = gradients(backbone, ids, LENGTHS)
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def test_a_row_alone_is_what_it_is_among_others():
    backbone = make(num_layers=2)
    together = backbone(IDS, LENGTHS)
    for row, length in enumerate(LENGTHS):
        if length:
            alone = backbone(IDS[row : row + 1, :length])
            found = (together.output[row, :length], together.h_n[:, row], together.c_n[:, row])
            wanted = (alone.output[0], alone.h_n[:, 0], alone.c_n[:, 0])
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_embedding_of_padding_is_zero_and_learns_nothing():
    backbone = make()
    backbone(IDS).output.sum().backward()  # without lengths padding is read
    assert not backbone.embedding.weight[PAD].any()
    assert not backbone.embedding.weight.grad[PAD].any()
    assert backbone.embedding.weight[UNK:].ne(0).all()


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_forget_gate_starts_open(layer_norm):
    """By the bias, or where that would be normalised away by the norm's."""
    for name, weight in make(num_layers=2, layer_norm=layer_norm).lstm.named_parameters():
        if name.startswith(("bias", "norm_bias")):
            gates = weight.view(-1, 8)  # i, f, g, o, and of a norm the cell
            opens = name.startswith("norm_bias" if layer_norm else "bias_ih")
            assert torch.equal(gates[1], torch.full((8,), float(opens)))
            assert not gates[[0, *range(2, len(gates))]].any()
        if name.startswith("norm_weight"):
            assert weight.eq(1).all()
        if "weight_hh" in name:
            for gate in weight.chunk(4):
                torch.testing.assert_close(gate @ gate.T, torch.eye(8), rtol=0, atol=1e-5)


def test_a_config_rebuilds_an_equal_backbone():
    options = {
        "vocabulary_size": 9,
        "input_size": None,
        "embedding_size": 5,
        "cell": "lstm",
        "hidden_size": 7,
        "num_layers": 2,
        "bidirectional": False,
        "dropout": 0.1,
        "input_dropout": 0.2,
        "word_dropout": 0.3,
        "output_dropout": 0.4,
        "weight_dropout": 0.5,
        "locked_dropout": True,
        "layer_norm": True,
        "learned_state": True,
        "embedding_dropout": 0.6,
    }
    for chosen in (options, options | {"vocabulary_size": None, "input_size": 3}):
        first = Backbone(BackboneConfig(**chosen))
        second = Backbone(BackboneConfig(**asdict(first.config)))
        assert first.config == second.config
        assert asdict(first.config) == chosen
        assert str(first) == str(second)
        second.load_state_dict(first.state_dict(), strict=True)
        assert second.lstm.dropout == 0.1
        assert (second.lstm.output_dropout, second.lstm.weight_dropout) == (0.4, 0.5)
        for name in ("locked_dropout", "layer_norm", "learned_state"):
            assert getattr(second.lstm, name) is True
    one_layer = make_backbone(9, dropout=0.5)
    assert one_layer.config.dropout == 0.5  # kept, though one layer has no use


@pytest.mark.parametrize(
    ("name", "value"), [("hidden_size", 0), ("dropout", 1.0), ("bidirectional", "both")]
)
def test_an_option_out_of_range_is_refused(name, value):
    with pytest.raises(InputError, match=rf"backbone\.{name}={value}: Input should be"):
        BackboneConfig(**{name: value})


def embedded(backbone, ids):
    """What the LSTM is given to read."""
    seen = []
    hook = backbone.lstm.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    backbone(ids)
    hook.remove()
    return seen[0]


def test_word_dropout_turns_its_share_into_unk_and_never_padding():
    backbone = make(word_dropout=0.3)
    ids = torch.randint(4, SIZE, (100, 200))
    ids[:, 150:] = PAD
    before = ids.clone()
    x = embedded(backbone, ids)
    unknown = (x == backbone.embedding.weight[UNK]).all(-1)
    kept = (x == backbone.embedding(ids)).all(-1)
    assert unknown[:, :150].float().mean() == pytest.approx(0.3, abs=0.02)  # 15 000 tokens
    assert (unknown ^ kept).all()
    assert not x[:, 150:].any()
    assert torch.equal(ids, before)


@pytest.mark.parametrize(("options", "x"), [({}, IDS + 4), ({"input_size": 3}, FEATURES)])
def test_input_dropout_is_the_same_at_all_steps_of_a_row(options, x):
    backbone = make(input_dropout=0.4, **options)
    rows = x.clamp(max=SIZE - 1).repeat(500, *[1] * (x.dim() - 1))
    plain = embedded(backbone.eval(), rows)
    scale = embedded(backbone.train(), rows) / plain
    assert torch.equal(scale.round(decimals=3), scale[:, :1].round(decimals=3).expand_as(scale))
    dropped = scale[:, 0] == 0
    assert dropped.float().mean() == pytest.approx(0.4, abs=0.03)
    kept = scale[:, 0][~dropped]
    torch.testing.assert_close(kept, torch.full_like(kept, 65536 / (65536 - 26214)))  # 16 bits
    assert not torch.equal(dropped[0::4][:-1], dropped[4::4])  # each row has its own


DROPOUTS = ("dropout", "input_dropout", "word_dropout", "output_dropout", "weight_dropout")


@pytest.mark.parametrize("layer_norm", [False, True])
def test_dropout_acts_in_training_only(layer_norm):
    options = {"num_layers": 2, "layer_norm": layer_norm}
    plain = parts(make(**options)(IDS, LENGTHS))
    for name in DROPOUTS:
        backbone = make(**options, **{name: 0.5})
        assert not torch.equal(backbone(IDS, LENGTHS).output, plain[0])
    backbone = make(**options, **dict.fromkeys(DROPOUTS, 0.5)).eval()
    torch.testing.assert_close(parts(backbone(IDS, LENGTHS)), plain, rtol=0, atol=0)


@pytest.mark.parametrize("locked", [False, True])
def test_the_same_seed_drops_the_same(locked):
    backbone = make(num_layers=2, locked_dropout=locked, **dict.fromkeys(DROPOUTS, 0.5))
    seen = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        seen.append(backbone(IDS, LENGTHS).output)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("locked", [False, True])
def test_locked_dropout_leaves_out_the_same_features_at_all_steps(locked):
    zeros = make(output_dropout=0.5, locked_dropout=locked)(IDS[:1]).output == 0
    assert zeros.any()
    assert torch.equal(zeros, zeros[:, :1].expand_as(zeros)) == locked


def test_a_learned_state_is_where_every_row_starts():
    backbone = make(learned_state=True, num_layers=2)
    with torch.no_grad():
        backbone.lstm.h_0 += torch.randn(4, 1, 8)
        backbone.lstm.c_0 += torch.randn(4, 1, 8)
    encoded = backbone(IDS, LENGTHS)
    empty = LENGTHS == 0
    assert torch.equal(encoded.h_n[:, empty], backbone.lstm.h_0)
    assert torch.equal(encoded.c_n[:, empty], backbone.lstm.c_0)
    zeros = torch.zeros(4, 4, 8)
    torch.testing.assert_close(
        parts(backbone(IDS, LENGTHS, (zeros, zeros))), parts(make(num_layers=2)(IDS, LENGTHS))
    )


def test_the_initial_state_is_passed_through():
    backbone = make(bidirectional=False)
    first = backbone(IDS[:2, :3])
    second = backbone(IDS[:2, 3:], torch.tensor([3, 0]), (first.h_n, first.c_n))
    whole = backbone(IDS[:2], LENGTHS[:2])
    torch.testing.assert_close(torch.cat([first.output, second.output], 1), whole.output)
    torch.testing.assert_close((second.h_n, second.c_n), (whole.h_n, whole.c_n))


def test_a_replica_that_has_no_parameters_of_its_own_reads_features():
    """DataParallel gives each further GPU such a replica: its weights are plain attributes."""
    backbone = make(input_size=3).eval()
    replica = backbone._replicate_for_data_parallel()
    replica.lstm = backbone.lstm._replicate_for_data_parallel()
    for name, weight in backbone.lstm.named_parameters():
        setattr(replica.lstm, name, weight.detach().clone())
    assert [*replica.parameters()] == []
    wanted = parts(backbone(FEATURES, LENGTHS))
    assert all(map(torch.equal, parts(replica(FEATURES, LENGTHS)), wanted))
