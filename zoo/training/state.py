"""What moves during a training, and its way into a checkpoint and back."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from zoo import device as machine
from zoo.config import TrainSettings
from zoo.data.dataset import Batch, Dataset
from zoo.data.interleave import InterleavedDataset
from zoo.errors import InputError
from zoo.nn.backbone import Backbone
from zoo.task import Task
from zoo.torch_private import lerp_
from zoo.training import checkpoint
from zoo.training.deferred import INTERVAL, DeferredLosses
from zoo.training.progress import Progress

log = logging.getLogger("zoo")

AHEAD = 4  # batches that are made before a device asks for them


class LossModule(nn.Module):
    """What is wrapped for several processes: its forward is the loss, whatever the loss calls."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Batch) -> Tensor:
        return self.task.loss(batch)


def accelerator_for(device: str, precision: str) -> Accelerator:
    """One Accelerator for a device and a precision; one of an earlier training is forgotten."""
    AcceleratorState._reset_state()
    mixed = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}[precision]
    return Accelerator(cpu=device == "cpu", mixed_precision=mixed)


class TrainingState:
    """The moving parts of one fit, and their way into a checkpoint and back."""

    def __init__(
        self,
        task: Task,
        dataset: Dataset | InterleavedDataset,
        settings: TrainSettings,
        seed: int,
        accelerator: Accelerator,
    ) -> None:
        self.settings, self.seed, self.dataset, self.accelerator = (
            settings,
            seed,
            dataset,
            accelerator,
        )
        self.progress = Progress()
        self.task = task.to(accelerator.device)
        self.frozen: list[nn.Parameter] = []
        self.set_trainable()
        optimizer = torch.optim.AdamW(
            _groups(self.task, settings.backbone_rate),
            lr=settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.average: AveragedModel | None = None
        if settings.ema_decay:
            self.average = AveragedModel(self.task, multi_avg_fn=self._average)
        self.model, self.optimizer = accelerator.prepare(LossModule(self.task), optimizer)
        device, overflow = accelerator.device, accelerator.scaler is not None
        waits = machine.is_asynchronous(device)  # a processor's numbers are there at once
        self.losses = DeferredLosses(device, overflow, INTERVAL if waits else 0.0)
        # What `vary` draws must be drawn in its turn, between the dropout masks of two steps.
        self.ahead = AHEAD if waits and not task.augments_at_random else 0
        if accelerator.process_index:  # the same first weights everywhere, but each its own dropout
            torch.manual_seed(seed + accelerator.process_index)

    @property
    def evaluated_task(self) -> Task:
        """The weights that are evaluated: the average where there is one."""
        return self.task if self.average is None else self.average.module  # type: ignore[return-value]

    def skippable(self, loss: Tensor) -> Tensor:
        """The loss to differentiate. With a gradient scaler it is NaN once a step has failed: the
        scaler then skips this step as well."""
        if not (self.losses.interval and self.losses.overflow):
            return loss
        return loss * torch.where(self.losses.failed > 0, torch.nan, 1.0)

    def update(self) -> None:
        """Change the weights by their gradients, unless a step has failed, and the average."""
        if self.losses.interval and not self.losses.overflow:
            self.optimizer.optimizer.found_inf = self.losses.failed  # the fused kernel looks there
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.task)

    def _average(self, kept: Any, current: Any, _: Tensor | int) -> None:
        """A moving average that is young at first: its first weights are soon forgotten."""
        assert self.average is not None
        steps = float(self.average.n_averaged)  # on the processor, unlike the argument
        share = 1 - min(self.settings.ema_decay, (1 + steps) / (10 + steps))
        with torch.no_grad():
            lerp_(kept, current, share)

    def set_trainable(self) -> None:
        """Choose what the running epoch trains: all, or the head, with `freeze=gradual` and a layer
        of the backbone more in each epoch, the top one first, the embedding last."""
        layers = _layers(self.task.backbone)
        kept = {"none": 0, "backbone": len(layers)}
        count = kept.get(self.settings.freeze, max(0, len(layers) - self.progress.epoch))
        self.frozen = [weight for layer in layers[:count] for weight in layer]
        if self.accelerator.num_processes == 1 or self.settings.freeze == "backbone":
            frozen = {*self.frozen}  # of several processes, none may change its mind in between
            for weight in self.task.backbone.parameters():
                weight.requires_grad_(weight not in frozen)

    def save(self, folder: Path) -> None:
        generators = gather_object([checkpoint.random_state()])
        carried = gather_object([self.task.carried_state])
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        checkpoint.save(
            {
                "model": self.task.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
                "progress": vars(self.progress),
                "generators": generators,
                "carried": carried,
                "threads": torch.get_num_threads(),
                "data": self.dataset.fingerprint(),
            },
            folder,
        )

    def load(self, folder: Path) -> None:
        state = checkpoint.load(folder)
        world, threads = len(state["generators"]), torch.get_num_threads()
        if state["data"] != self.dataset.fingerprint():
            raise InputError(f"{folder}: the training rows are not those that the run began with")
        if world != self.accelerator.num_processes:
            raise InputError(f"{folder}: the run began in {world} processes: resume it in as many")
        if state["threads"] != threads:
            had = state["threads"]
            log.warning("the run began with %d threads, now %d: the bits can differ", had, threads)
        self.task.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])
        rank, device = self.accelerator.process_index, self.accelerator.device
        checkpoint.restore_random_state(state["generators"][rank])
        carried = state["carried"][rank]
        self.task.carried_state = None if carried is None else tuple(s.to(device) for s in carried)


def _groups(task: Task, backbone_rate: float) -> list[dict[str, Any]]:
    """The weights for an optimizer; `scale` is of the learning rate."""
    below = {*task.backbone.parameters()}
    head = [weight for weight in task.parameters() if weight not in below]
    backbone = [weight for weight in task.parameters() if weight in below]
    return [{"params": head, "scale": 1.0}, {"params": backbone, "scale": backbone_rate}]


def _layers(backbone: Backbone) -> list[list[nn.Parameter]]:
    """A backbone's weights from below: the embedding, then each layer of the LSTM."""
    layers: list[list[nn.Parameter]] = [[] for _ in range(1 + backbone.lstm.num_layers)]
    for name, weight in backbone.named_parameters():
        found = re.search(r"_l(\d+)(_reverse)?$", name)
        learned_state = name.startswith("lstm") and found is None
        layers[1 + int(found[1]) if found else int(learned_state)].append(weight)
    return layers


def learning_rate_factor(done: float, settings: TrainSettings) -> float:
    """Share of the learning rate when the share `done` of the training is over.

    cosine and onecycle rise from 0 to 1 within `warmup`, the first along a line, the other along
    a half cosine, and fall along a half cosine to 0; constant stays at 1 after its warm-up.
    """
    if done < settings.warmup:
        risen = done / settings.warmup
        return (1 - math.cos(math.pi * risen)) / 2 if settings.schedule == "onecycle" else risen
    if settings.schedule == "constant" or settings.warmup == 1:
        return 1.0
    return (1 + math.cos(math.pi * (done - settings.warmup) / (1 - settings.warmup))) / 2
