"""A step of training, and how each contestant prepares one in a process of its own.

`prepare` writes weights, batch, labels and the gradients in float64 once; everybody reads them. A
step is what a loop does: gradients dropped, the loss by cross-entropy, backward, SGD with momentum.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
import cases  # noqa: F401  (before timm)
import segmentation

from bench.shared.alone import Built
from bench.shared.gradients import gradient_error

__all__ = ["OURS", "PEERS", "STEPS", "Step", "Task", "contestant", "prepare"]

OURS = "atrous"


def convnext(size: int, classes: int = 21) -> nn.Module:
    """ConvNeXt-T at output stride 8 with a 1x1 for classes."""
    return nn.Sequential(segmentation.convnext_dense(size), nn.Conv2d(768, classes, 1))


@dataclass(frozen=True, slots=True)
class Step:
    """A model and its batch."""

    name: str
    make: Callable[[], nn.Module]
    batch: tuple[int, ...]


STEPS = (
    *(
        Step(
            f"DeepLabv3+ ResNet-50, output stride {stride}",
            partial(segmentation.DeepLab, "resnet50", stride, segmentation.Dense),
            (4, 3, 257, 257),  # of two images the norm behind the pool would make signs
        )
        for stride in (16, 8)
    ),
    Step("ConvNeXt-T, output stride 8", partial(convnext, 224), (4, 3, 224, 224)),
)


@dataclass(frozen=True, slots=True)
class Task:
    """A step by its name, and the folder of its files."""

    name: str
    folder: Path

    @property
    def step(self) -> Step:
        return next(step for step in STEPS if step.name == self.name)

    @property
    def state(self) -> Path:
        """Weights, batch, labels, and the gradients in float64."""
        return self.folder / "state.pt"

    def model(self) -> nn.Module:
        """In training mode, with the weights of the file where there is one."""
        torch.manual_seed(0)
        return self.step.make().train()


def loss_of(model: Callable[[torch.Tensor], torch.Tensor], held: dict[str, Any]) -> torch.Tensor:
    return cross_entropy(model(held["x"]), held["labels"])


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def prepare(threads: int, task: Task) -> Built:
    """Writes the file of a step."""
    torch.set_num_threads(threads)
    model = task.model()
    x = torch.randn(task.step.batch)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    model.double()
    with torch.no_grad():
        made = model.eval()(x[:1].double())
    labels = torch.randint(made.shape[1], (x.shape[0], *made.shape[2:]))
    model.load_state_dict(weights)
    loss_of(model.train(), {"x": x.double(), "labels": labels}).backward()
    held = {"weights": weights, "x": x, "labels": labels, "gradients": gradients(model)}
    torch.save(held, task.state)
    return Built(lambda: None)


@dataclass(frozen=True, slots=True)
class Way:
    """What is called with the batch, and what there is to say."""

    call: Callable[[torch.Tensor], torch.Tensor]
    notes: dict[str, Any]


def ours(model: nn.Module, x: torch.Tensor, folder: Path) -> Way:
    """As a user calls it, with nothing known from before, and once more with what is."""
    import atrous

    os.environ["ATROUS_CACHE"] = str(folder / f"choices-{os.getpid()}")
    took = []
    for _ in range(2):
        start = time.perf_counter()
        fast = atrous.optimize(model, x, training=True)
        took.append(round(time.perf_counter() - start, 1))
    about = fast.explain()
    chosen: dict[str, int] = {}
    for layer in about.layers:
        chosen[layer.strategy] = chosen.get(layer.strategy, 0) + 1
    fast.train()
    return Way(
        fast, {"optimized_s": took[0], "again_s": took[1], "mode": about.mode, "strategies": chosen}
    )


def eager(model: nn.Module, _x: torch.Tensor, _folder: Path) -> Way:
    return Way(model, {})


def channels_last(model: nn.Module, _x: torch.Tensor, _folder: Path) -> Way:
    """The weights and the batch in channels last."""
    model.to(memory_format=torch.channels_last)
    return Way(lambda x: model(x.contiguous(memory_format=torch.channels_last)), {})


def compiled(model: nn.Module, _x: torch.Tensor, _folder: Path) -> Way:
    return Way(torch.compile(model, dynamic=False), {})


PEERS: dict[str, Callable[[nn.Module, torch.Tensor, Path], Way]] = {
    OURS: ours,
    "PyTorch": eager,
    "PyTorch, channels last": channels_last,
    "torch.compile": compiled,
}


def contestant(name: str, threads: int, task: Task) -> Built:
    """That peer with a step prepared; the gradients of its first are compared with float64's."""
    torch.set_num_threads(threads)
    held = torch.load(task.state, weights_only=True)
    model = task.model()
    model.load_state_dict(held["weights"])
    start = time.perf_counter()
    way = PEERS[name](model, held["x"], task.folder)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    model.load_state_dict(held["weights"])
    loss_of(way.call, held).backward()
    prepared = time.perf_counter() - start
    whole, own = gradient_error(gradients(model), held.pop("gradients"))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(way.call, held).backward()
        optimizer.step()

    notes = {"gradient_error": float(f"{whole:.2e}"), "gradient_error_own": float(f"{own:.2e}")}
    return Built(step, {**notes, "prepared_s": round(prepared, 1), **way.notes})
