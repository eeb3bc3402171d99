"""The two directions of a layer side by side, a core each.

They wait for nothing of each other. Where torch has two threads, splitting every product of the
fused kernel over both makes a small layer hardly faster. So each thread runs one direction, forward
and backward. Both are threads of torch's own team: no setting of the caller changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from zoo import torch_private
from zoo.rnn.matmul import compute_dtype

Direction = Callable[..., tuple[Tensor, ...]]  # from tensors or None to tensors

THREADS = (2, 3)  # torch's threads with which a direction gets one
LEAST_PRODUCTS = 8_000_000  # of a gate, in one direction: below, starting both takes longer


def pays(x: Tensor, hidden: int, projected: bool) -> bool:
    """Whether both directions of `hidden` units should run side by side over x (time, batch, input).

    They do where oneDNN computes them: on a CPU, in float32 or bfloat16, without a projection; with
    two or three threads, and from LEAST_PRODUCTS on. They do not while torch traces, compiles,
    exports or transforms, as these watch one thread.
    """
    time, batch, size = x.shape
    if projected or time * batch * hidden * (size + hidden) < LEAST_PRODUCTS:
        return False
    if compute_dtype(x) not in (torch.float32, torch.bfloat16):
        return False
    watched = (
        torch.compiler.is_compiling()
        or torch.compiler.is_exporting()
        or torch.jit.is_tracing()
        or torch_private.in_func_transform()
    )
    plain = x.device.type == "cpu" and type(x) in (Tensor, nn.Parameter) and x.numel() > 0
    if watched or not plain or torch.get_num_threads() not in THREADS:
        return False
    return torch_private.openmp() is not None


def run(directions: Sequence[Direction], given: Sequence[Sequence[Tensor | None]]) -> list[tuple]:
    """Call each direction with what is given to it, side by side. Returns their results.

    A direction depends on no other tensor that needs a gradient. An error of one is raised again
    here. A second derivative raises RuntimeError.
    """
    if not (torch.is_grad_enabled() and any(_needs_gradient(part) for part in given)):
        return together([_bound(d, part) for d, part in zip(directions, given, strict=True)])
    flat = [tensor for part in given for tensor in part]
    found = SideBySide.apply(tuple(directions), *flat)
    size = len(found) // len(directions)
    return [tuple(found[start : start + size]) for start in range(0, len(found), size)]


def together(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Call functions side by side in torch's threads, and return their results in order.

    Modes for gradients, inference and autocast are those of the caller. The first error is raised.
    """
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []
    left = list(enumerate(works))[::-1]
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    cast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu")

    def take() -> None:
        while left:
            try:
                place, work = left.pop()
            except IndexError:
                return
            try:
                with ExitStack() as modes:
                    modes.enter_context(torch.inference_mode(inference))
                    modes.enter_context(torch.set_grad_enabled(grad))
                    modes.enter_context(torch.autocast("cpu", dtype, cast, cache_enabled=False))
                    results[place] = work()
            except BaseException as error:  # raised below, in the caller's thread
                errors.append(error)

    torch_private.run_in_team(take, len(works))
    if errors:
        raise errors[0]
    return results


class SideBySide(torch.autograd.Function):
    """Run functions side by side, and their backward: (functions, all their arguments) -> results.

    Each function takes as many arguments as the others, and returns as many results.
    """

    @staticmethod
    def forward(
        ctx: Any, functions: tuple[Direction, ...], *flat: Tensor | None
    ) -> tuple[Tensor, ...]:
        size = len(flat) // len(functions)
        leaves = [None if part is None else _leaf(part) for part in flat]

        def work(place: int) -> Callable[[], tuple[Tensor, ...]]:
            return lambda: functions[place](*leaves[place * size : (place + 1) * size])

        with torch.enable_grad():
            ctx.results = together([work(place) for place in range(len(functions))])
        ctx.leaves = leaves
        return tuple(result.detach() for results in ctx.results for result in results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("the fused kernel has no second derivative: engine='reference' has")
        count = len(ctx.results)
        size, made = len(ctx.leaves) // count, len(gradients) // count

        def work(place: int) -> Callable[[], list[Tensor | None]]:
            leaves = ctx.leaves[place * size : (place + 1) * size]
            given = gradients[place * made : (place + 1) * made]
            return lambda: _gradients(ctx.results[place], leaves, given)

        found = together([work(place) for place in range(count)])
        return None, *(gradient for part in found for gradient in part)


def _gradients(
    results: Sequence[Tensor], leaves: Sequence[Tensor | None], given: Sequence[Tensor]
) -> list[Tensor | None]:
    """Return the gradients of one function's arguments from those of its results."""
    wanted = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    pairs = [pair for pair in zip(results, given, strict=True) if pair[0].requires_grad]
    if not wanted or not pairs:
        return [None] * len(leaves)
    found = iter(
        torch.autograd.grad(
            [result for result, _ in pairs],
            wanted,
            [gradient for _, gradient in pairs],
            retain_graph=True,
            allow_unused=True,
        )
    )
    return [None if leaf is None or not leaf.requires_grad else next(found) for leaf in leaves]


def _leaf(tensor: Tensor) -> Tensor:
    """Return a tensor's values as the start of a graph of their own."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _needs_gradient(given: Sequence[Tensor | None]) -> bool:
    return any(tensor is not None and tensor.requires_grad for tensor in given)


def _bound(direction: Direction, given: Sequence[Tensor | None]) -> Callable[[], tuple]:
    return lambda: direction(*given)
