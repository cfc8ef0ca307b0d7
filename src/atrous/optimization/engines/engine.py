"""What an engine tells of itself, and what it is given to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from atrous.errors import AtrousError
from atrous.frameworks.structures import flattened, unflattened
from atrous.operators.kernels.torch_layouts import strided
from atrous.optimization.graph.export import Exported, exported
from atrous.optimization.graph.program import activation_bytes, strides_of
from atrous.optimization.judge import Inputs, called
from atrous.refusal import Refusal
from atrous.registry import Registry

__all__ = [
    "ENGINES",
    "Engine",
    "Run",
    "Task",
    "UnfitError",
    "complaint",
    "missing",
    "task_of",
    "versions_of",
]

Run = Callable[[Inputs], Any]
"""What an engine makes of inputs: the outputs in the structure that the model gives."""


class UnfitError(AtrousError, ValueError):
    """An engine cannot take this model; the message says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Another way to run whole models.

    `packages` are what it is imported from, `install` the command that brings them. `build` makes
    what runs the task with its weights as they are now, and raises where it cannot.
    """

    name: str
    packages: tuple[str, ...]
    install: str
    build: Callable[[Task], Run]


ENGINES = Registry[str, Engine]("engine")
"""Every engine, by the name that `optimize(engines=...)` takes, in the order they are tried."""


def missing(engine: Engine) -> str:
    """What is to be done for the engine to be there; nothing where it is."""
    for package in engine.packages:
        try:
            found = find_spec(package) is not None
        except (ImportError, ValueError):  # one that is half there
            found = False
        if not found:
            return f"{package} is not installed; run `{engine.install}`"
    return ""


def versions_of(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The packages of these engines and their versions, but PyTorch, whose version is known."""
    packages = (ENGINES[name].packages[0] for name in names if name in ENGINES)
    for package in packages:
        if package != "torch":
            with suppress(PackageNotFoundError):
                yield package, version(package)


@dataclass(frozen=True)
class Task:
    """A model in evaluation mode on inputs of one signature, and what it made of them.

    `found` is its graph, or why it has none; None where nobody asked yet.
    """

    model: nn.Module
    inputs: Inputs
    outputs: Any
    found: Exported | Refusal | None = None

    @cached_property
    def graph(self) -> Exported:
        """The model as a graph; raises `UnfitError` where it has none."""
        found = self.found
        if found is None:
            found = exported(self.model, self.inputs)
        if isinstance(found, Exported):
            return found
        raise UnfitError(found.reason)

    @cached_property
    def tensors(self) -> list[torch.Tensor]:
        """The outputs one by one; raises `UnfitError` where something else is among them."""
        values = flattened(self.outputs)[0]
        if not all(type(value) is torch.Tensor for value in values):
            raise UnfitError("its outputs are not tensors alone.")
        return values

    @property
    def peak(self) -> int:
        """The bytes of all results that a run holds at once; of its outputs, without a graph."""
        if isinstance(self.found, Exported):
            return activation_bytes(self.found.graph)
        return sum(value.numel() * value.element_size() for value in self.tensors)

    def giver(self) -> Callable[[Sequence[torch.Tensor]], Any]:
        """What puts outputs into the structure and the strides in which the model gives them.

        It holds nothing of the task: an engine that keeps it lets the rest go.
        """
        strides = [strides_of(value) for value in self.tensors]
        spec = flattened(self.outputs)[1]

        def give(values: Sequence[torch.Tensor]) -> Any:
            pairs = zip(values, strides, strict=True)
            return unflattened([y if s is None else strided(y, s) for y, s in pairs], spec)

        return give


def task_of(model: nn.Module, inputs: Inputs, found: Exported | Refusal | None = None) -> Task:
    """The model on these inputs, run once; `found` is its graph where that was asked for before."""
    with torch.no_grad():
        return Task(model, inputs, called(model, inputs), found)


def complaint(error: Exception) -> str:
    """Why an engine failed, in one line."""
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, UnfitError):
        return lines[0]
    return f"{type(error).__name__}: {lines[0][:200]}".removesuffix(": ")
