"""PyTorch models run side by side in float64, with drawn and with their own weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from typing import Any

import torch
from torch import nn

from atrous.errors import ReadError
from atrous.frameworks.modules import run_of
from atrous.frameworks.structures import leaves
from atrous.frameworks.torch import (
    quiet,
    seed_all,
)

__all__ = ["Runner", "draw_weights", "random_inputs", "share_weights"]


class Runner:
    """A copy of a model in `dtype` and evaluation mode, whose outputs or inner maps are wanted.

    `names` are modules whose outputs are taken; for None those of the model itself. Of an
    `ExportedProgram`, the module that runs it.
    """

    def __init__(
        self, model: Any, names: Sequence[str] | None = None, dtype: torch.dtype = torch.double
    ) -> None:
        is_module = isinstance(model, nn.Module)
        with quiet():
            made = copy.deepcopy(model if is_module else model.module())
        # Not `to`, which takes the imaginary part off complex numbers.
        self.model = made.double() if dtype is torch.double else made.float()
        if is_module:  # what was exported has its mode for good
            self.model.eval()
        self.names = None if names is None else tuple(names)
        self.said: tuple[Any, ...] = ()

    def run(self, inputs: Sequence[torch.Tensor]) -> list[Any]:
        """The wanted tensors as arrays. Raises whatever the model raises.

        What the model gives out beside tensors is kept in `said`. Buffers that it writes to have
        their values again afterwards: every run is the first.
        """
        with _alike(), _unwritten(self.model):
            if self.names is None:
                made = self.model(*_copies(inputs))
                self.said = tuple(t for t in leaves(made) if not isinstance(t, torch.Tensor))
                return [_to_numpy(t) for t in leaves(made) if isinstance(t, torch.Tensor)]
            caught: dict[str, torch.Tensor] = {}
            with _caught(self.model, self.names, caught):
                try:
                    self.model(*_copies(inputs))
                except Exception:
                    # What lies behind the wanted maps may not take them.
                    if any(name not in caught for name in self.names):
                        raise
        missing = [name for name in self.names if name not in caught]
        if missing:
            raise ReadError(f"{missing[0]}: this module did not run, or made no tensor.")
        return [_to_numpy(caught[name]) for name in self.names]

    def maps(self, inputs: Sequence[torch.Tensor], names: Sequence[str]) -> dict[str, Any]:
        """What each of these modules makes, for those that run once and make a tensor."""
        caught: dict[str, torch.Tensor] = {}
        with (
            _alike(),
            _unwritten(self.model),
            _caught(self.model, names, caught),
            suppress(Exception),
        ):
            # What lies behind the last of them may not take these maps.
            self.model(*_copies(inputs))
        return {name: _to_numpy(value) for name, value in caught.items()}


@contextmanager
def _alike() -> Iterator[None]:
    """Every run draws the same random numbers, and leaves the caller's alone."""
    with torch.no_grad(), quiet(), torch.random.fork_rng(devices=[]):
        seed_all(0)
        yield


@contextmanager
def _unwritten(model: nn.Module) -> Iterator[None]:
    """Buffers are what they were, when this ends, wherever they were written to or replaced."""
    held = [(part, dict(part._buffers)) for part in model.modules()]
    values = [(t, t.clone()) for _, found in held for t in found.values() if t is not None]
    try:
        yield
    finally:
        for part, found in held:
            part._buffers.update(found)
        for tensor, value in values:
            if not tensor.is_inference():
                tensor.copy_(value)


def _copies(inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The inputs anew: a first layer that works in place must not change what the next run gets."""
    return [tensor.clone() for tensor in inputs]


def _to_numpy(tensor: torch.Tensor) -> Any:
    return tensor.detach().double().numpy() if tensor.is_floating_point() else tensor.numpy()


@contextmanager
def _caught(
    model: nn.Module, names: Sequence[str], caught: dict[str, torch.Tensor]
) -> Iterator[None]:
    """Keeps what modules make, by the names of their runs."""
    hooks = []

    def catcher(name: str, turn: int | None) -> Any:
        runs = 0

        def catch(_module: nn.Module, _args: Any, output: Any) -> None:
            nonlocal runs
            found = next((t for t in leaves(output) if torch.is_tensor(t)), None)
            if found is not None and turn in (None, runs):
                # In-place activations behind it must not change what it made.
                caught[name] = found.detach().clone()
            runs += 1

        return catch

    try:
        for name in names:
            meant = run_of(model, name)
            if meant is not None:
                part, turn = meant
                hooks.append(part.register_forward_hook(catcher(name, turn)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def random_inputs(
    shapes: Sequence[Sequence[int]],
    seed: int = 0,
    batch: int | None = None,
    dtype: torch.dtype = torch.double,
    like: Sequence[torch.Tensor | None] = (),
) -> list[torch.Tensor]:
    """Normal random inputs of these shapes, in `dtype`.

    Where `like` has an example of other numbers, they are of its kind and between its least and
    its largest: indices stay in their tables.
    """
    generator = torch.Generator().manual_seed(seed)
    made: list[torch.Tensor] = []
    for shape, example in zip_longest(shapes, like[: len(shapes)]):
        size = (batch, *shape[1:]) if batch else tuple(shape)
        if example is None or example.is_floating_point():
            made.append(torch.randn(size, generator=generator, dtype=torch.double).to(dtype))
        elif example.is_complex():
            made.append(torch.randn(size, generator=generator, dtype=torch.cdouble))
        else:
            low, high = (int(example.min()), int(example.max())) if example.numel() else (0, 0)
            drawn = torch.randint(low, high + 1, size, generator=generator)
            made.append(drawn.to(example.dtype))
    return made


def draw_weights(
    runner: Runner,
    shapes: Sequence[Sequence[int]],
    seed: int = 0,
    like: Sequence[torch.Tensor | None] = (),
) -> None:
    """Draws every parameter anew, and calibrates batch norms on random inputs.

    Filters keep the size of what they are given, scales lie around 1, so that no branch that is
    switched off at the start (a scale of 0, a layer scale of 1e-6) can hide what it computes.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, scale: float) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * scale

    with torch.no_grad():
        for name, parameter in runner.model.named_parameters():
            if not parameter.is_floating_point():
                continue
            if parameter.dim() > 1:
                parameter.copy_(normal(parameter, (2 / parameter[0].numel()) ** 0.5))
            elif name.endswith("bias"):
                parameter.copy_(normal(parameter, 0.1))
            else:
                drawn = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.copy_(drawn + 0.5)
    dtype = next(
        (p.dtype for p in runner.model.parameters() if p.is_floating_point()), torch.double
    )
    norms = [m for m in runner.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    kept = [(norm, norm.momentum) for norm in norms]
    try:
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        # Where a batch of two does not fit, norms keep what they were made with.
        with _alike(), suppress(Exception):
            runner.model(*random_inputs(shapes, seed + 1, batch=2, dtype=dtype, like=like))
    finally:
        for norm, momentum in kept:
            norm.momentum = momentum
        runner.model.eval()


_LEARNT = frozenset(
    {"running_mean", "running_var", "num_batches_tracked", "weight", "bias", "weight_u", "weight_v"}
)
"""Buffers that training sets, by their own names: norms, frozen ones too, and spectral norms."""


def share_weights(source: nn.Module, target: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Gives `target` the parameters of `source` and what training set beside them, key by key.

    Other buffers, such as masks and tables, are part of what a model computes: each keeps its own.
    Returns the names of those that had other values, and of those that have them still. Raises
    `ReadError` naming the first key that one of them lacks or has in another shape.
    """
    held, wanted = source.state_dict(), target.state_dict()
    own = _constants_of(source) & _constants_of(target)
    for name, value in wanted.items():
        if name not in held:
            raise ReadError(
                f"the candidate has {name!r} and the reference does not; both must have the same "
                "parameters."
            )
        if held[name].shape != value.shape:
            raise ReadError(
                f"{name!r} is {tuple(held[name].shape)} in the reference and {tuple(value.shape)} "
                "in the candidate; both must have the same parameters."
            )
    differing = [name for name in wanted if not _equal(held, wanted, name)]
    given = tuple(name for name in differing if name not in own)
    target.load_state_dict({name: (wanted if name in own else held)[name] for name in wanted})
    return given, tuple(name for name in differing if name in own)


def _equal(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    return bool(torch.equal(one[name].to(other[name].dtype), other[name]))


def _constants_of(model: nn.Module) -> set[str]:
    """The buffers that training does not set, of modules that are not PyTorch's own."""
    return {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        if not type(module).__module__.startswith("torch.nn.")
        for name, _ in module.named_buffers(recurse=False)
        if name not in _LEARNT
    }
