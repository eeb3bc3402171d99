"""One direction or both: what `turned` computes, what it shares, and `directions=` on the way in."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from backbone_cases import make_backbone
from conftest import DATA, fails, settings
from torch.nn.utils import prune

import zoo
from zoo import run
from zoo.config import SHAPE, check, check_together, compose
from zoo.data.corpora import open_corpus
from zoo.errors import InputError
from zoo.nn.backbone import Backbone
from zoo.nn.directions import DROPOUTS, forward_alone, with_directions
from zoo.training import build
from zoo.training.options import options_of

TOY = DATA / "classify.jsonl"
LENGTHS = torch.tensor([5, 1, 7, 3])
IDS = torch.arange(28).view(4, 7) % 9 + 2
SHARES = {name: 0.1 * place for place, name in enumerate(DROPOUTS, 1)} | {"locked_dropout": True}
QUICK = [
    "device=cpu",
    "precision=fp32",
    "baseline=false",
    "train.epochs=1",
    "train.learning_rate=1e-9",
    "train.init_embeddings=false",
    "train.ema_decay=0",
]


def backbone(layers=1, both=True, **options) -> Backbone:
    """A backbone with large random weights."""
    torch.manual_seed(layers)
    made = make_backbone(
        12, embedding_size=5, hidden_size=4, num_layers=layers, bidirectional=both, **options
    )
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(std=0.7)
    return made.eval()


def backwards(values: torch.Tensor) -> torch.Tensor:
    """Rows (batch, time, …), what is real of each from its end to its beginning."""
    steps = torch.arange(values.size(1))
    places = torch.where(
        steps < LENGTHS.unsqueeze(1), LENGTHS.unsqueeze(1) - 1 - steps, steps
    )  # (batch, time)
    return values[torch.arange(len(values)).unsqueeze(1), places]


@pytest.mark.parametrize("options", [{}, {"layer_norm": True}])
@torch.no_grad()
def test_without_the_backward_direction_the_forward_half_is_what_it_was(options):
    old = backbone(**options)
    before, made = old(IDS, LENGTHS), with_directions(old, False)
    found = made(IDS, LENGTHS)
    assert made.output_size == 4
    torch.testing.assert_close(found.output, before.output[..., :4])
    torch.testing.assert_close(found.h_n, before.h_n[:1])
    torch.testing.assert_close(found.c_n, before.c_n[:1])
    torch.testing.assert_close(old(IDS, LENGTHS).output, before.output, atol=0, rtol=0)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"layer_norm": True}, {"learned_state": True}])
@torch.no_grad()
def test_an_added_direction_reads_from_the_end_as_the_first_from_the_beginning(layers, options):
    old = backbone(layers, both=False, **options)
    right, left = old(IDS, LENGTHS), old(backwards(IDS), LENGTHS)
    found = with_directions(old, True)(IDS, LENGTHS)
    torch.testing.assert_close(found.output[..., :4], right.output)
    torch.testing.assert_close(found.output[..., 4:], backwards(left.output))
    assert not torch.allclose(found.output[..., :4], found.output[..., 4:])
    for name in ("h_n", "c_n"):
        torch.testing.assert_close(getattr(found, name)[0::2], getattr(right, name))
        torch.testing.assert_close(getattr(found, name)[1::2], getattr(left, name))


def test_what_is_the_same_stays_one_parameter():
    old = backbone()
    made = with_directions(old, False)
    assert made.embedding is old.embedding
    for name, weight in made.named_parameters():
        assert weight is old.get_parameter(name)
    assert {*dict(made.named_parameters())} == {
        name for name, _ in old.named_parameters() if not name.endswith("_reverse")
    }
    torch.optim.SGD(made.parameters(), 1.0).zero_grad()
    made(IDS, LENGTHS).output.sum().backward()
    assert old.lstm.weight_hh_l0.grad.abs().sum() > 0
    with torch.no_grad():
        old.lstm.weight_hh_l0.zero_()
        old.embedding.weight.mul_(2)
        torch.testing.assert_close(
            made(IDS, LENGTHS).output, old(IDS, LENGTHS).output[..., :4]
        )  # what runs is what was changed


@torch.no_grad()
def test_a_direction_that_is_added_has_weights_of_its_own():
    old = backbone(2, both=False)
    made = with_directions(old, True)
    assert made.embedding is old.embedding
    shared = {
        name
        for name, weight in made.lstm.named_parameters()
        if any(weight is other for other in old.parameters())
    }
    assert shared == {
        "weight_ih_l0",
        "weight_hh_l0",
        "bias_ih_l0",
        "bias_hh_l0",
        "weight_hh_l1",
        "bias_ih_l1",
        "bias_hh_l1",
    }
    before = old(IDS, LENGTHS).output.clone()
    for name, weight in made.lstm.named_parameters():
        if name.endswith("_reverse"):
            weight.zero_()
    found = made(IDS, LENGTHS).output
    torch.testing.assert_close(found[..., :4], before)
    assert not found[..., 4:].any()


@pytest.mark.parametrize(("layers", "both"), [(2, True), (2, False), (1, True)])
@pytest.mark.parametrize("learned", [False, True])
def test_a_direction_that_is_kept_shares_all(layers, both, learned):
    old = backbone(layers, both, learned_state=learned)
    made = with_directions(old, both)
    assert {*map(id, made.parameters())} == {*map(id, old.parameters())}
    with torch.no_grad():
        assert torch.equal(made(IDS, LENGTHS).output, old(IDS, LENGTHS).output)


def test_what_cannot_be_turned_is_refused():
    with pytest.raises(ValueError, match="of several layers the forward direction reads what the"):
        with_directions(backbone(2), False)
    with pytest.raises(ValueError, match="a learned first state of both directions"):
        with_directions(backbone(learned_state=True), False)


@pytest.mark.parametrize("both", [True, False])
def test_dropouts_are_those_of_the_new_training(both):
    old = backbone(2, both=False, **dict.fromkeys(DROPOUTS[:-1], 0.05))
    kept = old.config
    made = with_directions(old, both, **SHARES)
    assert made.config == replace(kept, bidirectional=both, **SHARES)
    for name in ("dropout", "output_dropout", "weight_dropout", "locked_dropout"):
        assert getattr(made.lstm, name) == SHARES[name]
    assert old.config is kept
    assert old.lstm.output_dropout == 0.05
    assert with_directions(old, both).config == replace(kept, bidirectional=both)


@pytest.mark.parametrize("training", [True, False])
def test_it_is_in_training_where_the_old_one_is(training):
    made = with_directions(backbone().train(training), False, input_dropout=0.9)
    assert [part.training for part in made.modules()] == [training] * 3
    torch.manual_seed(0)
    one, two = (made(IDS, LENGTHS).output for _ in range(2))
    assert torch.equal(one, two) is not training


def test_the_backward_direction_goes_on_from_nothing():
    assert forward_alone(None) is None
    h, c = torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    for part, found in zip((h, c), forward_alone((h, c)), strict=True):
        assert torch.equal(found[:1], part)
        assert found.shape == (2, 3, 4)
        assert not found[1].any()


def test_a_direction_is_added_in_the_precision_of_the_other():
    assert (
        with_directions(backbone(both=False).double(), True)(IDS, LENGTHS).output.dtype
        == torch.float64
    )


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Folders of untrained models, (layers, both directions) -> folder."""
    made = {}
    for layers, both in ((1, True), (1, False), (2, True), (2, False)):
        shape = [f"backbone.num_layers={layers}", f"backbone.bidirectional={both}"]
        chosen = settings(None, *shape, "tokenizer.kind=words", "backbone.dropout=0.1")
        folder = tmp_path_factory.mktemp("begun") / "model"
        build.build(options_of(chosen), chosen, open_corpus(chosen.data)).save(folder)
        made[layers, both] = folder
    return made


def words(out, *given) -> list[str]:
    return ["data=files", f"data.train={TOY}", *QUICK, f"out={out}", *map(str, given)]


@pytest.mark.parametrize(
    ("layers", "both", "asked", "after", "said"),
    [
        (1, True, [], True, "in both directions"),
        (1, False, ["directions=kept"], False, "to the right alone; directions=both adds"),
        (1, True, ["directions=forward"], False, "to the right alone"),
        (2, False, ["directions=both"], True, "in both directions"),
        (2, True, ["directions=both"], True, "in both directions"),
    ],
)
def test_a_training_begins_in_the_directions_that_are_asked_for(
    capsys, tmp_path, begun, layers, both, asked, after, said
):
    folder = begun[layers, both]
    assert run.main(words(tmp_path / "run", f"init={folder}", *asked)) == 0
    assert f"init={folder}: its backbone reads {said}" in capsys.readouterr().out
    origin, found = zoo.load(folder).backbone, zoo.load(tmp_path / "run").backbone
    assert found.config.bidirectional is after
    ids, lengths = IDS, LENGTHS
    with torch.no_grad():
        old, new = origin.eval()(ids, lengths).output, found.eval()(ids, lengths).output
    torch.testing.assert_close(new[..., :16], old[..., :16], atol=1e-5, rtol=0)
    if both and after:
        torch.testing.assert_close(new, old, atol=1e-5, rtol=0)


def test_directions_that_cannot_be_are_refused_in_one_line(capsys, tmp_path, begun):
    out = tmp_path / "run"
    said = fails(capsys, *words(out, f"init={begun[2, True]}", "directions=forward"))
    assert said.startswith(f"init={begun[2, True]}: in a bidirectional LSTM of several layers")
    for wanted in ("forward", "both"):
        said = fails(capsys, *words(out, f"directions={wanted}"))
        assert said.startswith("directions=… is about the backbone of init=…; without it there is ")
    said = fails(capsys, *words(out, f"init={begun[1, True]}", "directions=left"))
    assert said.startswith("directions=left: ")
    assert not out.exists()


REFUSED = "init=… brings its backbone and tokenizer: leave their settings out"


def test_what_init_brings_cannot_be_set_beside_it(capsys, tmp_path, begun):
    given = words(tmp_path / "run", f"init={begun[1, True]}", "backbone.hidden_size=1")
    assert fails(capsys, *given) == REFUSED
    assert not (tmp_path / "run").exists()
    chosen, free = check(compose(["init=DIR"])), check(compose([]))
    shape = [*(f"backbone.{name}=1" for name in SHAPE), "backbone=default", "tokenizer.size=9"]
    for setting in shape:
        with pytest.raises(InputError, match=REFUSED):
            check_together(chosen, ["init=DIR", setting])
        check_together(free, [setting])
    for name in DROPOUTS:
        check_together(chosen, ["init=DIR", f"backbone.{name}=0"])


def test_dropouts_can_be_set_beside_init_and_are_applied(tmp_path, begun):
    given = [f"backbone.{name}={share}" for name, share in SHARES.items()]
    assert run.main(words(tmp_path / "run", f"init={begun[2, False]}", *given)) == 0
    origin, found = zoo.load(begun[2, False]), zoo.load(tmp_path / "run")
    assert asdict(found.backbone.config) == pytest.approx(asdict(origin.backbone.config) | SHARES)
    assert found.backbone.lstm.output_dropout == pytest.approx(SHARES["output_dropout"])


def test_a_weight_that_a_tool_computes_is_not_shared():
    made = backbone()
    prune.l1_unstructured(made.lstm, "weight_hh_l0", 0.5)
    with pytest.raises(ValueError, match="weight_hh_l0 is computed from other parameters"):
        with_directions(made, False)
