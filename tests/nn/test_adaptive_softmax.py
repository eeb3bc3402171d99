"""AdaptiveOutputLayer: torch's own adaptive softmax, value and gradients; losses token by token."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from backbone_cases import make_backbone
from torch import nn
from torch.func import functional_call

from zoo.nn.adaptive_softmax import AdaptiveOutputLayer
from zoo.nn.output_layer import OutputLayer

INPUTS, VOCABULARY = 6, 17
CUTS = [5], [4, 9], [1, 2, 16]
clusters = pytest.mark.parametrize("cuts", CUTS, ids=str)
ties = pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
owns = pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
TARGETS = {
    "all": range(VOCABULARY),
    "head": [0, 2, 0, 3],
    "first cluster": [4, 8, 6, 4],
    "last cluster": [16, 9, 16],
    "no head": [4, 16, 9, 8],
    "no first cluster": [3, 9, 0, 16],
    "borders": [0, 3, 4, 8, 9, 16],
    "one": [9],
}
targets = pytest.mark.parametrize("name", TARGETS)


def model(cuts, tied=True, own=False, dtype=torch.float64):
    """A backbone and an output layer, with biases that are not zero."""
    torch.manual_seed(0)
    tokens = (
        AdaptiveOutputLayer(VOCABULARY, INPUTS, cuts, own, tied)
        if cuts
        else OutputLayer(VOCABULARY, INPUTS, own, tied)
    )
    for name, part in tokens.named_parameters():
        if "bias" in name:
            nn.init.normal_(part)
    backbone = make_backbone(VOCABULARY, embedding_size=INPUTS, hidden_size=3)
    return nn.ModuleDict({"backbone": backbone, "tokens": tokens}).to(dtype)


def given(name="all", dtype=torch.float64):
    """Vectors that need a gradient, and a target."""
    target = torch.tensor(TARGETS[name])
    torch.manual_seed(1)
    return torch.randn(len(target), INPUTS, dtype=dtype, requires_grad=True), target


def matrix(both):
    """What vectors are compared with."""
    tokens = both["tokens"]
    if tokens.weight is not None:
        return tokens.weight
    return (tokens.embedding or both["backbone"].embedding).weight


def torchs(both, cuts, vectors, target):
    """torch's log-probability of each target by the same weights. Its clusters have no bias, but
    a matrix in front: so a bias is the weight of a feature that is 1, and the matrix the identity.
    """
    tokens = both["tokens"]
    rows = torch.cat([matrix(both), tokens.bias[:, None]], 1)
    entries = torch.cat([tokens.clusters, tokens.cluster_bias[:, None]], 1)
    weights = {"head.weight": torch.cat([rows[: cuts[0]], entries])}
    for place, (low, high) in enumerate(pairwise([*cuts, VOCABULARY])):
        weights[f"tail.{place}.0.weight"] = torch.eye(INPUTS + 1, dtype=rows.dtype)
        weights[f"tail.{place}.1.weight"] = rows[low:high]
    module = nn.AdaptiveLogSoftmaxWithLoss(INPUTS + 1, VOCABULARY, cuts, div_value=1.0)
    x = torch.cat([vectors, torch.ones_like(vectors[:, :1])], 1)
    return functional_call(module, weights, (x, target)).output


def gradients(both, vectors, loss):
    """Of the vectors and of all parameters that have one."""
    both.zero_grad()
    vectors.grad = None
    loss.backward()
    found = {name: part.grad for name, part in both.named_parameters() if part.grad is not None}
    return {"vectors": vectors.grad, **found}


@clusters
@ties
@dtypes
def test_probabilities_are_torchs_and_sum_to_one(cuts, tied, dtype):
    both, (vectors, _) = model(cuts, tied, dtype=dtype), given(dtype=dtype)
    found = both["tokens"](vectors, both["backbone"])
    every = torch.arange(VOCABULARY).repeat(len(vectors))
    wanted = torchs(both, cuts, vectors.repeat_interleave(VOCABULARY, 0), every)
    wanted = wanted.view(-1, VOCABULARY).to(torch.promote_types(dtype, torch.float32))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(len(vectors), dtype=found.dtype))


def test_rows_may_stand_in_any_shape():
    both, (vectors, _) = model([4, 9]), given("borders")
    flat, shaped = (both["tokens"](v, both["backbone"]) for v in (vectors, vectors.view(2, 3, -1)))
    assert torch.equal(shaped, flat.view(2, 3, VOCABULARY))


@targets
@clusters
@ties
@owns
@dtypes
def test_loss_gradients_and_losses_are_torchs_wherever_the_targets_lie(
    name, cuts, tied, own, dtype
):
    both, (vectors, target) = model(cuts, tied, own, dtype), given(name, dtype)
    each, results = -torchs(both, cuts, vectors, target), []
    for loss in (both["tokens"].loss(vectors, both["backbone"], target), each.mean()):
        results.append({"loss": loss.detach(), **gradients(both, vectors, loss)})
    bound = 1e-10 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(*results, rtol=bound, atol=bound)
    found = both["tokens"].losses(vectors, both["backbone"], target)
    assert not found.requires_grad
    torch.testing.assert_close(found, each.detach().to(found), rtol=1e-5, atol=1e-5)


def test_no_rows_have_a_zero_loss_and_no_losses():
    both = model([4, 9])
    vectors, none = given()[0][:0].detach().requires_grad_(), torch.zeros(0, dtype=torch.int64)
    assert both["tokens"].losses(vectors, both["backbone"], none).shape == (0,)
    loss = both["tokens"].loss(vectors, both["backbone"], none)
    assert loss.item() == 0
    assert not any(grad.any() for grad in gradients(both, vectors, loss).values())


@ties
@owns
def test_it_is_saved_with_an_entry_for_each_cluster(tied, own):
    saved = {
        name: tuple(t.shape) for name, t in model([4, 9], tied, own)["tokens"].state_dict().items()
    }
    shapes = {"bias": (17,), "clusters": (2, INPUTS), "cluster_bias": (2,)}
    shapes |= {} if tied else {"weight": (17, INPUTS)}
    assert saved == shapes | ({"embedding.weight": (17, INPUTS)} if own else {})


@pytest.mark.parametrize("cuts", [[], [0], [-1, 4], [17], [4, 18], [5, 5], [4, 9, 6]], ids=str)
def test_cutoffs_that_do_not_ascend_within_the_ids_are_refused(cuts):
    with pytest.raises(ValueError, match="must ascend within the 17 ids"):
        AdaptiveOutputLayer(VOCABULARY, INPUTS, cuts)


def test_label_smoothing_is_refused():
    both, (vectors, target) = model([4, 9]), given()
    with pytest.raises(ValueError, match="no label smoothing"):
        both["tokens"].loss(vectors, both["backbone"], target, 0.1)


@pytest.mark.parametrize("cuts", [None, [4, 9]], ids=str)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
def test_bfloat16_autocast_is_close_to_float32(cuts, kind):
    both, (vectors, target) = model(cuts, dtype=torch.float32), given(dtype=torch.float32)
    tokens, backbone, vectors = both["tokens"], both["backbone"], vectors.detach()
    exact = tokens.losses(vectors, backbone, target)
    rounded = vectors.bfloat16()
    same = [tokens.loss(each, backbone, target) for each in (rounded, rounded.float())]
    assert torch.equal(*same)  # without autocast they are taken in float32
    with torch.autocast("cpu", torch.bfloat16):
        given_ = vectors.to(kind), backbone
        found = tokens.losses(*given_, target)
        mean, said = tokens.loss(*given_, target), tokens(*given_).float().log_softmax(1)
    assert (found.dtype, mean.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(mean, found.mean(), rtol=1e-5, atol=1e-6)
    for one in (found, -said.gather(1, target[:, None]).squeeze(1)):
        assert 0 < (one - exact).norm() < exact.norm() / 64  # as in test_cross_entropy


@pytest.mark.parametrize("cuts", [None, [4, 9]], ids=str)
def test_losses_do_not_disturb_a_loss_that_is_not_yet_differentiated(cuts):
    both, (vectors, target) = model(cuts), given()
    loss = both["tokens"].loss(vectors, both["backbone"], target)
    wanted = gradients(both, vectors, loss)
    loss = both["tokens"].loss(vectors, both["backbone"], target)
    both["tokens"].losses(vectors * 7, both["backbone"], target.flip(0))
    torch.testing.assert_close(gradients(both, vectors, loss), wanted, rtol=0, atol=0)
