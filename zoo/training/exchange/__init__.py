"""What the processes of one training tell each other in every step."""

from __future__ import annotations

from torch import device, distributed, nn
from torch.optim import AdamW

from zoo.training.exchange.gradients import GradientExchange
from zoo.training.exchange.shared import SharedExchange, shared_exchange

Exchange = GradientExchange | SharedExchange


def exchange_for(
    module: nn.Module, optimizer: AdamW, average: nn.Module | None, where: device
) -> Exchange | None:
    """Return the exchange of several processes on CPUs; None for one process and for CUDA.

    Processes of one machine share the weights and their `average`, a copy of the module if there
    is one. Those of several machines send gradients.
    """
    alone = not distributed.is_initialized() or distributed.get_world_size() == 1
    if alone or where.type != "cpu":
        return None
    return shared_exchange(module, optimizer, average) or GradientExchange(module)
