"""The output layer over a large vocabulary fused with its loss.

Over 33,000 words a step's logits are hundreds of times as large as the vector they come from. So
the number of passes over them decides the time. The derivative by the logits is

    P - (1 - smoothing) * onehot(target) - smoothing / vocabulary,   P = E / sum(E), E = exp(logits)

All terms but E have low rank. So only E is stored, in 16 bits if the products are in 16 bits. It
enters the two products of the backward. The other terms, and the division by sum(E), are applied
to the small factors of these products.

In bfloat16 on a CPU the words come in blocks, so that a block's logits stay in the processor's
cache from one pass to the next. Most logits are small enough for exp(logits) without a shift, so no
pass looks for the highest one. Where the sums leave a safe range, all is computed by the rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.rnn.matmul import PackedWeight, compute_dtype, matmul

ELEMENTS = 1 << 22  # the most logits held at a time on a CPU
KEPT = 1 << 27  # bytes; a larger E is allocated anew each time
BLOCK = 1 << 20  # logits of a block of words
BLOCK_WORDS = 512, 4096  # at least, at most
FEATURES = 32  # bf16 instructions multiply so many at a time
# With fewer words the rows are faster. In float32 the products take nearly all the time, so there the
# blocks gain little, and the rows keep the bits that they always had.
FEWEST = {torch.bfloat16: 1 << 8}
SAFE = 1e-20, 1e20  # sums of exp(logits) without a shift that keep their precision


def linear_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor, target: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross entropy of `F.linear(x, weight, bias)`, as `F.cross_entropy` does.

    x (n, size), weight (vocabulary, size), bias (vocabulary,), target (n,) int64. Products are
    computed in the precision of the enclosing autocast, sums in float32 (float64 for float64 x).
    Without rows the loss and its gradients are zero. A second derivative raises RuntimeError.
    """
    wanted = torch.is_grad_enabled()
    return _LinearCrossEntropy.apply(x, weight, bias, target, label_smoothing, wanted)


@torch.no_grad()
def linear_losses(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy of each row (n,), without gradient."""
    low = compute_dtype(x)
    wide = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(wide)
        hits = _hits(x, weight, bias, target)
        if _by_words(x, weight, low):
            _, sums, _ = _word_powers(_with_one(x).to(low), weight, bias, wide, keep=False)
            if _safe(sums):
                return sums.log() - hits
        _, sums, tops = _powers(x.to(low), weight.to(low), bias.to(low), wide, keep=False)
        return sums.log() + tops - hits


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        target: Tensor,
        smoothing: float,
        wanted: bool,
    ) -> Tensor:
        count = max(1, len(x))
        made = [room_for(each) for each in (weight, bias)] if wanted else None
        total, of_rows = sum_and_gradients(x, weight, bias, target, smoothing, count, made)
        if of_rows is not None and made is not None:
            keep_gradients(ctx, [x, weight, bias], [of_rows, *made])
        return total / count

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple:
        return *scaled_gradients(ctx, scale), None, None, None


def room_for(weight: Tensor) -> Tensor:
    """Return uninitialised memory for the gradient of a weight, in float32 or wider."""
    return torch.empty_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))


def keep_gradients(ctx: Any, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Keep gradients for `scaled_gradients`, in the dtypes of the inputs."""
    pairs = zip(inputs, gradients, strict=True)
    ctx.save_for_backward(*(grad.to(each.dtype) for each, grad in pairs))


def scaled_gradients(ctx: Any, scale: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients that were kept, times `scale`. Raises RuntimeError in a second derivative."""
    if torch.is_grad_enabled():  # torch's once_differentiable would keep silent in a sum
        raise RuntimeError("linear_cross_entropy cannot be differentiated twice")
    found = ctx.saved_tensors
    if scale.device.type != "cpu" or float(scale) != 1:
        found = tuple(grad * scale.to(grad.dtype) for grad in found)
    return found


def sum_and_gradients(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    smoothing: float,
    count: int,
    made: Sequence[Tensor] | None,
) -> tuple[Tensor, Tensor | None]:
    """Return the sum of the cross entropies of x (n, size), and the gradient of x (n, size).

    The gradients of weight and bias are written into `made`. All gradients are divided by `count`.
    With None none are computed.
    """
    low = compute_dtype(x)
    wide = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(wide)
        if _by_words(x, weight, low):
            found = _by_words_of(x, weight, bias, target, smoothing, count, made, low)
            if found is not None:
                return found
        rows, narrow = x.to(low), weight.to(low)
        powers, sums, tops = _powers(rows, narrow, bias.to(low), wide, made is not None)
        mean = weight.to(wide).mean(0) if smoothing else None
        hits = _hits(x, weight, bias, target)
        loss = _sum_of_losses(sums.log() + tops, hits, x, mean, bias, smoothing)
        if made is None:
            return loss, None
        share = smoothing / len(weight), (1 - smoothing)
        return loss, _gradients(powers, sums, rows, narrow, target, share, count, made)


def _sum_of_losses(
    logs: Tensor, hits: Tensor, x: Tensor, mean: Tensor | None, bias: Tensor, smoothing: float
) -> Tensor:
    """Return the sum of the cross entropies, ().

    logs: log of the sum of exp(logits); hits: the logits of the targets, (n,) both. mean: the mean
    row of the weight (size,), None without smoothing.
    """
    loss = (logs - (1 - smoothing) * hits).sum()
    if mean is not None:
        loss -= smoothing * (x @ mean + bias.to(x).mean()).sum()
    return loss


def _by_words(x: Tensor, weight: Tensor, low: torch.dtype) -> bool:
    """Whether the logits of x are computed in blocks of words."""
    fewest = FEWEST.get(low)
    many = fewest is not None and len(weight) >= fewest
    return x.device.type == "cpu" and many and len(x) > 0


def _safe(sums: Tensor) -> bool:
    """Whether sums of exp(logits) neither overflowed nor lost precision; False for NaN."""
    least, most = (float(each) for each in sums.aminmax())
    return least > SAFE[0] and most < SAFE[1]


def _by_words_of(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    smoothing: float,
    count: int,
    made: Sequence[Tensor] | None,
    low: torch.dtype,
) -> tuple[Tensor, Tensor | None] | None:
    """Return what `sum_and_gradients` returns, computed in blocks of words; None if unsafe."""
    size = x.size(1)
    ones = _with_one(x)
    rows = ones.to(low)
    powers, sums, of_rows = _word_powers(rows, weight, bias, x.dtype, made is not None)
    if not _safe(sums):
        return None
    mean = weight.to(x).mean(0) if smoothing else None
    hits = _hits(x, weight, bias, target)
    loss = _sum_of_losses(sums.log(), hits, x, mean, bias, smoothing)
    if made is None or of_rows is None:
        return loss, None
    every, right = smoothing / len(weight) / count, (1 - smoothing) / count
    part = (1 / (sums * count)).unsqueeze(1)  # (n, 1): the factor from E to P / count
    of_rows = of_rows[:size].t() * part
    of_rows -= weight[target].to(x) * right
    if mean is not None:
        of_rows -= mean * (smoothing / count)
    given = (ones * part).to(low)
    of_weight, of_bias = made
    room = given.new_empty(min(_words_of_block(len(x)), len(weight)), given.size(1))
    for words in _blocks(len(weight), len(x)):
        product = torch.mm(powers[words], given, out=room[: words.stop - words.start])
        of_weight[words] = product[:, :size]
        of_bias[words] = product[:, size]
    of_weight.index_add_(0, target, x, alpha=-right)
    of_bias.index_add_(0, target, torch.ones_like(sums), alpha=-right)
    if smoothing:
        of_weight -= x.sum(0) * every
        of_bias -= every * len(x)
    return loss, of_rows


def _word_powers(
    rows: Tensor, weight: Tensor, bias: Tensor, wide: torch.dtype, keep: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return E (vocabulary, n), its sums (n,) and the product of weight and E (features, n).

    `rows` is a result of `_with_one` in the precision of the products, (n, features). The logits
    are not shifted. Without `keep` only the sums are computed.
    """
    count, features = rows.shape
    size = weight.size(1)
    some = _words_of_block(count)
    words_kept = len(weight) if keep else min(some, len(weight))
    memory = _scratch(rows, words_kept, count + features).flatten()
    kept = memory[: words_kept * count].view(words_kept, count)
    narrow = memory[words_kept * count :].view(words_kept, features)  # weight and bias
    narrow[:, size + 1 :] = 0
    room = rows.new_empty(min(some, len(weight)), count, dtype=wide)
    sums = rows.new_zeros(count, dtype=wide)
    for words in _blocks(len(weight), count):
        place = words if keep else slice(words.stop - words.start)
        part, powers = narrow[place], kept[place]
        part[:, :size] = weight[words]
        part[:, size] = bias[words]
        logits = torch.mm(part, rows.t(), out=powers)
        exact = room[: len(part)].copy_(logits).exp_()
        powers.copy_(exact)
        sums += exact.sum(0)
    # One product over all words is faster than the sum of one for each block.
    products = torch.mm(narrow.t(), kept).to(wide) if keep else None
    return kept, sums, products


def _words_of_block(rows: int) -> int:
    """Return the number of words whose logits for so many rows fit into the cache."""
    return min(max(BLOCK_WORDS[0], BLOCK // rows), BLOCK_WORDS[1])


def _blocks(words: int, rows: int) -> Iterator[slice]:
    """Yield slices of the words, one for each block."""
    some = _words_of_block(rows)
    for start in range(0, words, some):
        yield slice(start, min(start + some, words))


def _with_one(x: Tensor) -> Tensor:
    """Return x (n, size) with a feature that is 1, then zeros up to a multiple of `FEATURES`."""
    wider = x.new_zeros(len(x), -(-(x.size(1) + 1) // FEATURES) * FEATURES)
    wider[:, : x.size(1)] = x
    wider[:, x.size(1)] = 1
    return wider


def _powers(
    rows: Tensor, weight: Tensor, bias: Tensor, wide: torch.dtype, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(logits - top) (n, vocabulary), its sums (n,) and the tops (n,).

    The top is a row's highest logit. Without `keep`, the first result holds only the last rows.
    """
    count = len(rows)
    size = len(weight)
    some = max(1, ELEMENTS // size) if rows.device.type == "cpu" else max(1, count)
    factor = PackedWeight(weight, rows.dtype) if count > some else None  # once for several products
    kept = _scratch(rows, count if keep else min(some, count), size)
    sums, tops = (rows.new_empty(count, dtype=wide) for _ in range(2))
    for start in range(0, count, some):
        part = slice(start, min(start + some, count))
        powers = kept[part] if keep else kept[: part.stop - start]
        logits = _logits(rows[part], weight, bias, factor)
        top = logits.amax(1, keepdim=True)
        tops[part] = top.squeeze(1)
        torch.exp(logits.sub_(top), out=powers)
        torch.sum(powers, 1, dtype=wide, out=sums[part])
    return kept, sums, tops


def _hits(x: Tensor, weight: Tensor, bias: Tensor, target: Tensor) -> Tensor:
    """Return the targets' logits (n,), in the precision of x."""
    return (x * weight[target].to(x)).sum(1) + bias[target].to(x)


def _logits(rows: Tensor, weight: Tensor, bias: Tensor, factor: PackedWeight | None) -> Tensor:
    """Return the logits of rows, a new tensor (rows, vocabulary)."""
    if factor is None:
        return matmul(rows, weight, rows.dtype).add_(bias)
    return factor(rows, bias)


def _gradients(
    powers: Tensor,
    sums: Tensor,
    rows: Tensor,
    weight: Tensor,
    target: Tensor,
    share: tuple[float, float],
    count: int,
    into: Sequence[Tensor],
) -> Tensor:
    """Return the gradient of x, and write those of weight and bias into `into`.

    All are divided by `count`.

    `share` is the target probability that smoothing gives to every token, and the rest, which the
    target gets in addition.
    """
    every, right = share
    wide = sums.dtype
    part = (1 / (sums * count)).unsqueeze(1)  # (n, 1): the factor from E to P / count
    of_rows = matmul(powers, weight.t(), rows.dtype).to(wide) * part
    of_rows -= weight[target].to(wide) * (right / count)
    given = torch.cat([rows.to(wide) * part, part], 1)  # (n, size + 1)
    lift = _lift(given, rows.dtype)
    given = (given if lift is None else given * lift).to(rows.dtype)
    if rows.dtype == torch.float32:  # oneDNN transposes the second factor: here the smaller one
        made = matmul(given.t(), powers.t(), rows.dtype).t()
    else:
        made = powers.t() @ given  # (vocabulary, size + 1)
    of_weight, of_bias = into
    of_weight.copy_(made[:, :-1])
    of_bias.copy_(made[:, -1])
    if lift is not None:
        of_weight /= lift
        of_bias /= lift
    of_weight.index_add_(0, target, rows.to(wide), alpha=-right / count)
    of_bias.index_add_(0, target, torch.ones_like(sums), alpha=-right / count)
    if every:
        of_rows -= weight.to(wide).sum(0) * (every / count)
        of_weight -= rows.to(wide).sum(0) * (every / count)
        of_bias -= every * len(rows) / count
    return of_rows


def _lift(given: Tensor, low: torch.dtype) -> Tensor | None:
    """Return the factor that scales `given` (n, size) before the cast to `low`; None for none.

    float16 has no numbers below 6e-8, and over 33,000 words these values are smaller. The factor
    is so large that a sum of n of them just cannot overflow.
    """
    if low != torch.float16 or not given.numel():
        return None
    return (1 << 15) / (given.abs().amax() * len(given))


class _Kept(threading.local):
    """Memory that one thread keeps for its next call, by dtype."""

    def __init__(self) -> None:
        self.memory: dict[torch.dtype, Tensor] = {}


_kept = _Kept()


def _scratch(like: Tensor, rows: int, size: int) -> Tensor:
    """Return uninitialised memory (rows, size) for this call.

    On a CPU later calls of the same thread reuse it, because first touching new pages takes longer
    than the product that fills them.
    """
    elements = rows * size
    if like.device.type != "cpu" or elements * like.itemsize > KEPT:
        return like.new_empty(rows, size)
    memory = _kept.memory.get(like.dtype)
    if memory is None or memory.numel() < elements:
        memory = _kept.memory[like.dtype] = like.new_empty(elements)
    return memory[:elements].view(rows, size)
