"""The state of a training: model, optimizer, average and progress, and its checkpoints."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from zoo.config import TrainConfig
from zoo.data.batch import Batch
from zoo.data.dataset import Dataset
from zoo.data.interleave import InterleavedDataset
from zoo.device import is_asynchronous, process_kept
from zoo.errors import InputError
from zoo.evaluation.config import EvaluationConfig
from zoo.evaluation.metrics import is_lower_better
from zoo.nn.backbone import Backbone
from zoo.rnn.stack import State
from zoo.task import Step, Task
from zoo.torch_private import lerp_
from zoo.training import checkpoint
from zoo.training.deferred import INTERVAL, DeferredLosses
from zoo.training.exchange import exchange_for
from zoo.training.gradients.clipping import clip_gradients
from zoo.training.gradients.embeddings import EmbeddingGradients
from zoo.training.progress import Progress

log = logging.getLogger("zoo")

AHEAD = 4  # batches that are prefetched for an asynchronous device


class StepModule(nn.Module):
    """A module whose forward is the task's training step, to be wrapped for several processes."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Batch, state: State | None) -> Step:
        return self.task.training_step(batch, state)


ACCELERATE = (AcceleratorState, PartialState, GradientState)  # what all Accelerators share
_turn = threading.RLock()  # of trainings in one process: they share random states and threads


@contextmanager
def host_kept() -> Iterator[None]:
    """Train in a program of others: at the end its settings of the process are as they were.

    Trainings in several threads take turns. The program's own Accelerator keeps its state. The
    Accelerator that is made inside must not be used behind the end.
    """
    if not _turn.acquire(blocking=False):
        log.info("another training runs in this process: this one waits for its end")
        _turn.acquire()
    try:
        kept = [vars(kind)["_shared_state"] for kind in ACCELERATE]
        with process_kept():
            try:
                for kind in ACCELERATE:
                    kind._shared_state = {}
                yield
            finally:
                for kind, state in zip(ACCELERATE, kept, strict=True):
                    kind._shared_state = state
    finally:
        _turn.release()


def accelerator_for(device: str, precision: str) -> Accelerator:
    """A new Accelerator for a device and a precision; the state of an earlier one is reset."""
    AcceleratorState._reset_state()
    mixed = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}[precision]
    return Accelerator(cpu=device == "cpu", mixed_precision=mixed)


class TrainingState:
    """Everything that changes during `fit`, with methods to save and load checkpoints."""

    def __init__(
        self,
        task: Task,
        dataset: Dataset | InterleavedDataset,
        settings: TrainConfig,
        seed: int,
        accelerator: Accelerator,
        evaluation: EvaluationConfig | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """`facts` are kept in the checkpoints: strings, numbers, lists and dicts."""
        self.facts = dict(facts or {})
        self.settings = settings
        self.seed = seed
        self.dataset = dataset
        self.accelerator = accelerator
        self.evaluation = evaluation or EvaluationConfig()
        self.progress = Progress()
        self.metric, self.lower_is_better = choosing_metric(task, settings)
        # Of each stream, by its head ("" for a single task): the state after its last window.
        self.carried: dict[str, State] = {}
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
        self.optimizer = accelerator.prepare(optimizer)
        self.exchange = exchange_for(
            self.task,
            self.optimizer.optimizer,
            None if self.average is None else self.average.module,
            accelerator.device,
        )
        exchanged = self.exchange is not None  # in the place of DistributedDataParallel
        self.model = accelerator.prepare_model(StepModule(self.task), evaluation_mode=exchanged)
        device, overflow = accelerator.device, accelerator.scaler is not None
        waits = is_asynchronous(device)
        self.losses = DeferredLosses(device, overflow, INTERVAL if waits else 0.0)
        self.embeddings = EmbeddingGradients()
        # `collate` must draw its random numbers between the dropout masks of two steps.
        self.ahead = AHEAD if waits and not task.augments else 0
        if accelerator.process_index:  # same initial weights, different dropout masks
            torch.manual_seed(seed + accelerator.process_index)

    @property
    def evaluated_task(self) -> Task:
        """The task that is evaluated: the one with averaged weights, if there is one."""
        return self.task if self.average is None else self.average.module  # type: ignore[return-value]

    def skippable(self, loss: Tensor) -> Tensor:
        """The loss to differentiate.

        With a gradient scaler it is NaN after a step has failed, so that the scaler skips this step.
        """
        if not (self.losses.interval and self.losses.overflow):
            return loss
        return loss * torch.where(self.losses.failed > 0, torch.nan, 1.0)

    def sparse_gradients(self, steps: int) -> AbstractContextManager[None]:
        """A context for forward and backward over `steps` tokens: see `EmbeddingGradients`.

        Several processes exchange dense gradients, so there it does nothing.
        """
        if self.accelerator.num_processes > 1:
            return nullcontext()
        return self.embeddings.sparse(self.task, steps)

    def clip(self) -> Tensor:
        """Scale the gradients to a norm of at most `grad_clip`; return the norm before, ()."""
        most = self.settings.grad_clip
        if self.accelerator.device.type == "cpu" and self.accelerator.num_processes == 1:
            return clip_gradients(self.model.parameters(), most)
        return self.accelerator.clip_grad_norm_(self.model.parameters(), most)

    def update(self) -> None:
        """Update the weights, unless a step has failed, then their moving average."""
        if self.losses.interval and not self.losses.overflow:
            self.optimizer.optimizer.found_inf = self.losses.failed  # the fused kernel looks there
        if self.exchange is None:
            self.optimizer.step()
        else:
            self.exchange.update(self.optimizer.optimizer)
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.task)

    def _average(self, kept: Any, current: Any, _: Tensor | int) -> None:
        """A moving average whose decay grows to `ema_decay`, so that early weights fade quickly."""
        assert self.average is not None
        steps = float(self.average.n_averaged)  # on the processor, unlike the argument
        share = 1 - min(self.settings.ema_decay, (1 + steps) / (10 + steps))
        if self.exchange is not None:
            kept, current = self.exchange.own(kept, current), self.exchange.own(current, current)
        with torch.no_grad():
            lerp_(kept, current, share)

    def set_trainable(self) -> None:
        """Freeze the layers of the backbone that this epoch does not train.

        `freeze=gradual` trains one more layer in each epoch, the top one first, the embedding last.
        """
        layers = _layers(self.task.backbone)
        kept = {"none": 0, "backbone": len(layers)}
        count = kept.get(self.settings.freeze, max(0, len(layers) - self.progress.epoch))
        self.frozen = [weight for layer in layers[:count] for weight in layer]
        if self.accelerator.num_processes == 1 or self.settings.freeze == "backbone":
            frozen = {*self.frozen}  # with several processes this must not change between epochs
            for weight in self.task.backbone.parameters():
                weight.requires_grad_(weight not in frozen)

    def save(self, folder: Path) -> None:
        """Write a checkpoint to `folder`; every process must call this."""
        generators = gather_object([checkpoint.random_state()])
        carried = gather_object([self.carried])
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
                "facts": self.facts,
            },
            folder,
        )

    def load(self, folder: Path) -> None:
        """Load the checkpoint in `folder`. Raises InputError if it does not fit this training."""
        state = checkpoint.load(folder)
        world, threads = len(state["generators"]), torch.get_num_threads()
        if state["data"] != self.dataset.fingerprint():
            raise InputError(f"{folder}: the encoded training rows are not those of the run")
        if world != self.accelerator.num_processes:
            raise InputError(f"{folder}: the run began in {world} processes: resume it in as many")
        if state["threads"] != threads:
            had = state["threads"]
            log.warning("the run began with %d threads, now %d: the bits can differ", had, threads)
        self.task.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.exchange is not None:
            self.exchange.adopt(self.optimizer.optimizer)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])
        rank, device = self.accelerator.process_index, self.accelerator.device
        checkpoint.restore_random_state(state["generators"][rank])
        self.carried = {
            head: tuple(part.to(device) for part in parts)
            for head, parts in state["carried"][rank].items()
        }


def choosing_metric(task: Task, settings: TrainConfig) -> tuple[str, bool]:
    """Return the validation metric that chooses the best epoch, and whether lower is better."""
    if settings.metric is None or settings.metric == task.metric:
        return task.metric, task.lower_is_better
    return settings.metric, is_lower_better(settings.metric)


def _groups(task: Task, backbone_rate: float) -> list[dict[str, Any]]:
    """The optimizer's parameter groups; `scale` is a factor on the learning rate."""
    below = {*task.backbone.parameters()}
    head = [weight for weight in task.parameters() if weight not in below]
    backbone = [weight for weight in task.parameters() if weight in below]
    return [{"params": head, "scale": 1.0}, {"params": backbone, "scale": backbone_rate}]


def _layers(backbone: Backbone) -> list[list[nn.Parameter]]:
    """A backbone's weights by layer: the embedding, then each recurrent layer from the bottom."""
    layers: list[list[nn.Parameter]] = [[] for _ in range(1 + backbone.rnn.num_layers)]
    for name, weight in backbone.named_parameters():
        found = re.search(r"_l(\d+)(_reverse)?$", name)
        learned_state = name.startswith(("lstm", "gru")) and found is None
        layers[1 + int(found[1]) if found else int(learned_state)].append(weight)
    return layers


def learning_rate_factor(done: float, settings: TrainConfig) -> float:
    """The factor on the learning rate after the share `done` of the training.

    During `warmup` it rises from 0 to 1, with onecycle along a half cosine, otherwise linearly.
    Then constant stays at 1; cosine and onecycle fall to 0 along a half cosine.
    """
    if done < settings.warmup:
        risen = done / settings.warmup
        return (1 - math.cos(math.pi * risen)) / 2 if settings.schedule == "onecycle" else risen
    if settings.schedule == "constant" or settings.warmup == 1:
        return 1.0
    return (1 + math.cos(math.pi * (done - settings.warmup) / (1 - settings.warmup))) / 2
