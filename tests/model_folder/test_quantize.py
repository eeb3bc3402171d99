"""Quantised weights: their rounding error, and the files that are refused."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from conftest import ROOT
from folder_cases import sign, untrained
from safetensors.torch import load_file, save_file

import zoo
from zoo.errors import InputError
from zoo.model_folder.quantize import pack, unpack
from zoo.task import Task

TASKS = sorted(path.stem for path in (ROOT / "tasks").glob("[a-z]*.py"))
FORMS = ["fp32", "fp16", "int8"]
FILE = "model.safetensors"
TINY = torch.finfo(torch.float32).tiny


@cache
def toy(name: str) -> Task:
    """Return an untrained task for its toy rows, without zero weights."""
    torch.manual_seed(0)
    task = untrained(task=name)
    with torch.no_grad():
        for weight in task.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return task


def some(spread: float) -> dict[str, torch.Tensor]:
    """Return tensors of every kind; matrix rows have sizes from 10 ** -spread to 10 ** spread."""
    torch.manual_seed(1)
    return {
        "matrix": torch.randn(400, 9) * torch.logspace(-spread, spread, 400)[:, None],
        "vector": torch.randn(70),
        "cube": torch.randn(2, 3, 4),
        "number": torch.tensor(0.3),
        "steps": torch.arange(5),
        "seen": torch.tensor([[True, False], [False, True]]),
        "long": torch.randn(3, dtype=torch.float64),
    }


def equal(one, two) -> bool:
    """Return whether two dictionaries hold bitwise equal tensors of the same dtypes."""
    return one.keys() == two.keys() and all(
        one[name].dtype == two[name].dtype and torch.equal(one[name], two[name]) for name in one
    )


@pytest.fixture
def folder(tmp_path):
    """Save an untrained int8 model that a test may change."""
    toy("classify").save(tmp_path / "model", {}, "int8")
    return tmp_path / "model"


def test_full_precision_is_written_as_it_is():
    weights = some(30)
    assert equal(pack(weights, "fp32"), weights)
    assert equal(unpack(weights, weights), weights)


def test_half_precision_is_within_its_own_rounding():
    weights = some(4)
    packed = pack(weights, "fp16")
    found = unpack(packed, weights)
    assert found.keys() == packed.keys() == weights.keys()
    for name in ("matrix", "vector", "cube", "number"):
        assert (packed[name].dtype, found[name].dtype) == (torch.float16, torch.float32)
        error = (found[name] - weights[name]).abs()
        assert error.max() > 0
        assert (error <= weights[name].abs() * 2**-11 + 2**-25).all()


def test_int8_is_within_half_a_scale():
    weights = some(30)
    packed = pack(weights, "int8")
    found, scale = unpack(packed, weights), packed["matrix.scale"]
    assert packed.keys() == weights.keys() | {"matrix.scale"}
    assert found.keys() == weights.keys()
    largest = weights["matrix"].abs().amax(1)
    torch.testing.assert_close(scale, largest / 127, rtol=1e-6, atol=0)
    error = (found["matrix"] - weights["matrix"]).abs() / scale[:, None]
    assert 0.45 < error.max() < 0.5001
    torch.testing.assert_close(found["matrix"].abs().amax(1), largest, rtol=1e-6, atol=0)
    assert int(packed["matrix"].amin()) >= -127
    assert (packed["matrix"].dtype, scale.dtype) == (torch.int8, torch.float32)


def test_a_scale_belongs_to_each_row():
    matrix = torch.tensor([[127.0, -1.0, 63.4], [-0.0127, 0.0064, 0.00004]])
    packed = pack({"w": matrix}, "int8")
    assert packed["w"].tolist() == [[127, -1, 63], [-127, 64, 0]]
    torch.testing.assert_close(packed["w.scale"], torch.tensor([1.0, 1e-4]))
    found = unpack(packed, {"w": matrix})["w"]
    torch.testing.assert_close(found, torch.tensor([[127.0, -1, 63], [-0.0127, 0.0064, 0]]))


def test_rows_of_zeros_stay_zeros():
    matrix = torch.tensor([[0.0, 0.0], [1.0, -2.0], [-0.0, 0.0]])
    packed = pack({"w": matrix}, "int8")
    assert not packed["w"][[0, 2]].any()
    assert packed["w.scale"].isfinite().all()
    assert torch.equal(unpack(packed, {"w": matrix})["w"][[0, 2]], torch.zeros(2, 2))


def test_only_float_matrices_become_int8():
    weights = some(4)
    packed = pack(weights, "int8")
    for name in ("vector", "cube", "number"):
        assert torch.equal(packed[name], weights[name].half())
        assert packed[name].dtype == torch.float16
    others = {name: weights[name] for name in ("steps", "seen", "long")}
    for form in FORMS:
        assert equal({name: pack(weights, form)[name] for name in others}, others)
        assert equal(unpack(pack(others, form), others), others)


@pytest.mark.parametrize("form", FORMS)
def test_what_was_packed_once_is_packed_again_without_a_change(form):
    torch.manual_seed(2)
    weights = some(30 if form != "fp16" else 4) | {"wide": torch.randn(20_000, 3)}
    packed = pack(weights, form)
    assert equal(pack(unpack(packed, weights), form), packed)


@pytest.mark.parametrize("size", [60 * TINY, TINY])
def test_very_small_rows_are_within_half_a_scale_too(size):
    weights = {"w": torch.tensor([[1.0, -0.5, 0.25]]) * size}
    packed = pack(weights, "int8")
    found = unpack(packed, weights)
    assert equal(pack(found, "int8"), packed)
    assert (found["w"] - weights["w"]).abs().max() <= 0.51 * max(size / 127, TINY)


def test_packing_leaves_the_weights_alone_and_needs_no_order_of_them():
    weights = {"w": torch.randn(5, 3, requires_grad=True), "turned": torch.randn(4, 6).t()}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    for form in FORMS:
        packed = pack(weights, form)
        assert not any(weight.requires_grad for weight in packed.values())
        assert all(weight.is_contiguous() for weight in packed.values())
        found = unpack(packed, weights)
        for name, weight in before.items():
            assert torch.equal(weights[name], weight)
            torch.testing.assert_close(found[name], weight, atol=0.02, rtol=0)


FULL = torch.tensor([[0.5, -2.0], [1.0, 3.0], [-0.1, 0.7]])
PACKED = pack({"w": FULL}, "int8")
WHOLE, SCALE = PACKED["w"], PACKED["w.scale"]


@pytest.mark.parametrize(
    "packed",
    [
        {"w": WHOLE},
        {"w": WHOLE, "w.scale": SCALE[:2]},
        {"w": WHOLE, "w.scale": SCALE[:1]},
        {"w": WHOLE, "w.scale": SCALE[0]},
        {"w": WHOLE, "w.scale": SCALE[:, None]},
        {"w": WHOLE, "w.scale": SCALE.half()},
        {"w": WHOLE, "w.scale": SCALE.double()},
        {"w": WHOLE, "w.scale": SCALE.int()},
        {"w": WHOLE, "w.scale": SCALE * torch.nan},
        {"w": WHOLE, "w.scale": SCALE * torch.inf},
        {"w": WHOLE.to(torch.uint8), "w.scale": SCALE},
        {"w": WHOLE.to(torch.int16), "w.scale": SCALE},
        {"w": FULL, "w.scale": SCALE},
        {"w": FULL.half(), "w.scale": SCALE},
        {"w": WHOLE[0], "w.scale": SCALE[0]},
        {"w": WHOLE[None], "w.scale": SCALE[:1]},
        {"w": FULL.bfloat16()},
        {"w": FULL.double()},
        {"w": FULL.int()},
        {"w": FULL.to(torch.complex64)},
        {"w": FULL.to(torch.float8_e5m2)},
        {"w": FULL > 0},
        {"w": FULL * torch.nan},
        {"w": FULL.half() * torch.inf},
        {"w": FULL.clone().fill_diagonal_(-torch.inf)},
    ],
)
def test_a_tensor_that_is_stored_in_another_way_is_named(packed):
    with pytest.raises(ValueError, match=r"^w: "):
        unpack(packed, {"w": FULL})


@pytest.mark.parametrize("like", [torch.arange(3), torch.randn(3, dtype=torch.float64)])
@pytest.mark.parametrize("kind", [torch.int32, torch.float32, torch.float16, torch.bool])
def test_what_is_no_weight_keeps_its_type(like, kind):
    with pytest.raises(ValueError, match=r"^b: "):
        unpack({"b": torch.ones(3, dtype=kind)}, {"b": like})


@pytest.mark.parametrize("like", [torch.arange(3), torch.randn(3, 2, dtype=torch.float64)])
def test_a_scale_of_what_has_none_is_left_over(like):
    with pytest.raises(ValueError, match=r"^b"):
        unpack({"b": like, "b.scale": torch.ones(3)}, {"b": like})


def test_missing_and_left_over_names_stay_for_the_module_to_name():
    packed = {"w.scale": SCALE, "extra": FULL, "extra.scale": SCALE}
    assert {*unpack(packed, {"w": FULL})} == {"extra", "extra.scale"}


CHANGES = [
    ("head.weight", lambda w: w.pop("head.weight.scale")),
    ("head.weight", lambda w: w.update({"head.weight.scale": torch.ones(1)})),
    ("head.weight", lambda w: w.pop("head.weight")),
    ("head.bias", lambda w: w.update({"head.bias.scale": torch.ones(2)})),
    ("head.bias", lambda w: w["head.bias"].fill_(torch.nan)),
    ("head.bias", lambda w: w.pop("head.bias")),
    ("nothing.scale", lambda w: w.update({"nothing.scale": torch.ones(2)})),
    ("extra", lambda w: w.update({"extra": torch.ones(2)})),
    (r"lstm\.weight_ih_l0", lambda w: w.update(dict(wider(w, "backbone.lstm.weight_ih_l0")))),
]


def wider(weights, name):
    """Add a row to a matrix and to its scales."""
    for part in (name, f"{name}.scale"):
        yield part, torch.cat([weights[part], weights[part][:1]])


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_a_file_that_is_not_as_it_was_written_is_named(folder, name, change):
    weights = load_file(folder / FILE)
    zoo.load(folder)
    change(weights)
    save_file(weights, folder / FILE)
    sign(folder)
    with pytest.raises(InputError, match=rf"{FILE}: .*{name}") as raised:
        zoo.load(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("form", ["fp16", "int8"])
def test_weights_that_half_precision_cannot_hold_are_refused(tmp_path, form):
    task = copy.deepcopy(toy("classify"))
    with torch.no_grad():
        task.head.bias[0] = 1e5
    task.save(tmp_path / "full", {}, "fp32")
    assert zoo.load(tmp_path / "full").head.bias.tolist()[0] == 1e5
    task.save(tmp_path / "model", {}, form)
    with pytest.raises(InputError, match=rf"{FILE}: head\.bias: .*not finite"):
        zoo.load(tmp_path / "model")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_loaded_from_every_form_and_takes_less_room(name, tmp_path):
    task, sizes = toy(name), []
    weights = task.state_dict()
    for form in FORMS:
        task.save(tmp_path / form, {}, form)
        loaded = zoo.load(tmp_path / form)
        wanted = unpack(pack(weights, form), weights)
        assert equal(loaded.state_dict(), wanted)
        assert equal(loaded.state_dict(), weights) == (form == "fp32")
        assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
        inputs = ["one two", ""] if task.text_columns else ["1 2", "3"]
        assert len(loaded.predict(inputs)) == 2
        sizes.append((tmp_path / form / "model.safetensors").stat().st_size)
    full, half, whole = sizes
    assert whole < 0.8 * half < 0.6 * full


@pytest.mark.parametrize("name", TASKS)
def test_a_form_is_saved_again_without_a_change(name, tmp_path):
    for form in FORMS:
        toy(name).save(tmp_path / "one", {}, form)
        zoo.load(tmp_path / "one").save(tmp_path / "two", {}, form)
        for path in (tmp_path / "one").iterdir():
            assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_model_in_few_bytes_is_saved_in_full_ones_as_it_is_in_memory(folder, tmp_path):
    loaded = zoo.load(folder)
    loaded.save(tmp_path / "full")
    assert equal(load_file(tmp_path / "full" / FILE), dict(loaded.state_dict()))
