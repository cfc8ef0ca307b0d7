"""What a training step of a module holds: forward, backward and optimizer run without numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import nn

from atrous.errors import ReadError, UnsupportedError
from atrous.frameworks.exported import unfit
from atrous.frameworks.structures import leaves, mapped
from atrous.frameworks.torch import (
    fakes,
    in_mode,
    is_fake,
    maker_of_gradient,
    next_node,
    quiet,
    stand_in_parameters,
    storage_of,
    unchanged,
    with_numbers,
)
from atrous.network.training import KeptMap, Phase, StepMemory, Training
from atrous.readers.torch.inputs import Examples
from atrous.readers.torch.optimizers import Optimizers, optimizer_of
from atrous.readers.torch.storages import Calls, Storages, without_numbers

__all__ = ["Loss", "TrainingRequest", "training_run"]

Loss = Callable[[Any], torch.Tensor]
ASSUMED = "the optimizer asks for numbers of the parameters; 1 is taken for each"
_ITEM = torch.ops.aten._local_scalar_dense.default
_MADE_ALONE = {"zeros", "ones", "full", "scalar_tensor", "empty"}


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """How a module is trained; a `loss` of None is the sum of all floating outputs."""

    optimizer: str | Optimizers = "sgd"
    loss: Loss | None = None
    autocast: str | None = None
    keep_gradients: bool = False


def training_run(
    module: nn.Module, examples: Examples, asked: TrainingRequest, batch: int | None = None
) -> Training:
    """The memory of two steps of training, run on tensors that have no numbers.

    The module runs in training mode, on `batch` items where that is given, and is left as it was:
    mode, parameters, gradients and buffers. Raises `ReadError` where nothing can be trained,
    `UnsupportedError` where a run without numbers does not go.
    """
    name = type(module).__name__
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ReadError(
            f"{name}: it has no parameter that requires a gradient, so there is nothing to train; "
            "call requires_grad_(True) on what is to be trained."
        )
    make, title = optimizer_of(asked.optimizer)
    with _to_train(module), unchanged(module), quiet(), torch.enable_grad():
        run = _Run(module, asked, make)
        try:
            return replace(run.of(examples, batch), optimizer=title)
        except (ReadError, UnsupportedError):
            raise
        except Exception as error:
            at = run.calls.layer() or run.ledger.phase
            refused = unfit(module, [_of_batch(t, batch, examples) for t in examples.tensors()])
            said = f"{refused}." if refused else f"at {at}: {without_numbers(error)}"
            raise UnsupportedError(
                f"{name}: its training step cannot be followed, {said}"
            ) from error


def _of_batch(tensor: torch.Tensor, batch: int | None, examples: Examples) -> tuple[int, ...]:
    """The shape of an input, of `batch` items where it has as many as the first input."""
    items = tuple(examples.tensors()[0].shape[:1])
    if batch is None or not items or tuple(tensor.shape[:1]) != items:
        return tuple(tensor.shape)
    return (batch, *tensor.shape[1:])


def _to_train(module: nn.Module) -> AbstractContextManager[Any]:
    """The module in training mode; parts of one that is in it already are as they are."""
    return nullcontext() if module.training else in_mode(module, training=True)


class _Run:
    """Steps of one module, whose parameters have no numbers while they last."""

    def __init__(self, module: nn.Module, asked: TrainingRequest, make: Optimizers) -> None:
        self.module, self.asked, self.make = module, asked, make
        self.mode = fakes()
        self.calls = Calls(module)
        names = {id(tensor): name for name, tensor in module.named_parameters()}
        made = stand_in_parameters(module, self.mode)
        self.parameters = list(made.values())
        self.trained = [parameter for parameter in self.parameters if parameter.requires_grad]
        paths = {id(new): names[old].rpartition(".")[0] for old, new in made.items()}
        self.ledger = _Ledger(self.mode, self.calls, paths)

    def of(self, examples: Examples, batch: int | None) -> Training:
        ledger, mode = self.ledger, self.mode
        buffers = list(self.module.buffers())
        ledger.own(buffers)
        ledger.own_fakes(self.parameters)
        given = mapped(
            (examples.args, dict(examples.kwargs)), lambda leaf: self._given(leaf, batch, examples)
        )
        ledger.start(leaves(given))
        static = {"parameters": _bytes(self.parameters), "buffers": _bytes(buffers)}
        inputs = ledger.alive
        with self.calls.noted(), mode, ledger:
            ledger.phase = "optimizer"
            optimizer = self.make(self.trained)
            steps = [self._step(given, optimizer, inputs, static) for _ in range(2)]
            later = steps[1]
            wanted = self._wanted(given, later.start)
        loss = "sum of the outputs" if self.asked.loss is None else _loss_name(self.asked.loss)
        kept = _kept_of_layers(ledger, later.kept, wanted, later.start)
        return Training(
            type(self.module).__name__,
            "",
            loss,
            self.asked.autocast or "",
            self.asked.keep_gradients,
            steps[0].memory,
            later.memory,
            kept,
            notes=(ASSUMED,) if ledger.assumed else (),
        )

    def _given(self, leaf: Any, batch: int | None, examples: Examples) -> Any:
        """An input without numbers, of that many items."""
        if not isinstance(leaf, torch.Tensor):
            return leaf
        shape = _of_batch(leaf, batch, examples)
        if shape == leaf.shape:
            return self.mode.from_tensor(leaf)
        with self.mode:
            return torch.empty(shape, dtype=leaf.dtype, device=leaf.device)

    def _step(
        self, given: Any, optimizer: Any, inputs: frozenset[int], static: Mapping[str, int]
    ) -> _StepDone:
        """One step, and what was alive at its worst."""
        ledger = self.ledger
        self.calls.restart()
        start, first, before = len(ledger.events), len(ledger.made), ledger.alive
        ledger.phase = "forward"
        value, output = self._forward(given)
        kept = ledger.alive - inputs
        ledger.phase = "backward"
        value.backward()
        gradients = ledger.among(parameter.grad for parameter in self.trained)
        ledger.phase = "optimizer"
        optimizer.step()
        state = ledger.among(leaves(dict(optimizer.state)))
        state |= ledger.among(leaves(list(optimizer.param_groups)))
        optimizer.zero_grad(set_to_none=not self.asked.keep_gradients)
        del value, output
        kinds = {"inputs": inputs, "gradients": gradients - inputs, "optimizer_state": state}
        kinds["activations"] = kept - state - gradients
        return _StepDone(
            _worst(ledger, start, before, kinds, static), kept - state - gradients, first
        )

    def _forward(self, given: Any) -> tuple[torch.Tensor, Any]:
        with self._autocast():
            output = self.module(*given[0], **given[1])
            value = (self.asked.loss or _sum)(output)
        if not isinstance(value, torch.Tensor) or not value.requires_grad:
            raise ReadError(
                f"{type(self.module).__name__}: no floating output depends on a parameter that "
                "requires a gradient, so there is nothing to train; give a loss that does."
            )
        if value.numel() != 1:
            shape = "x".join(map(str, value.shape))
            raise ReadError(f"the loss is one number, and this one gives {shape}; reduce it.")
        return value, output

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.asked.autocast is None:
            return nullcontext()
        device = self.parameters[0].device.type
        cast = getattr(torch, self.asked.autocast)
        around: AbstractContextManager[Any] = torch.autocast(device, cast)
        return around

    def _wanted(self, given: Any, start: int) -> Mapping[int, tuple[str, ...]]:
        """Which layers keep which storages of a forward pass, by their order in it."""
        ledger, first = self.ledger, len(self.ledger.made)
        found: dict[int, dict[str, None]] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            key = ledger.id_of(tensor)
            if key is not None and key >= first:
                found.setdefault(key - first, {})[self.calls.layer() or "the loss"] = None
            return tensor.detach()

        self.calls.restart()
        ledger.phase = "forward"
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            held = self._forward(given)
        same = [m[1] for m in ledger.made[first:]]
        del held
        if same != [m[1] for m in ledger.made[start : start + len(same)]]:
            return {}
        return {key: tuple(layers) for key, layers in found.items()}


@dataclass(frozen=True, slots=True)
class _StepDone:
    memory: StepMemory
    kept: frozenset[int]
    start: int


class _Ledger(Storages):
    """Every storage that comes and goes, by number, with the phase and the layer that makes it."""

    def __init__(self, mode: Any, calls: Calls, paths: Mapping[int, str]) -> None:
        super().__init__(mode, calls)
        self.events: list[tuple[int, int, Phase, str]] = []
        self.made: list[tuple[Phase, str]] = []
        self.phase: Phase = "forward"
        self.assumed = False
        self._paths = paths
        self._ids: dict[int, int] = {}
        self._layers: dict[int, str] = {}
        self._layer = ""

    @property
    def alive(self) -> frozenset[int]:
        """The numbers of all storages that are there."""
        return frozenset(self._ids.values())

    def id_of(self, tensor: torch.Tensor) -> int | None:
        """The number of a tensor's storage; None for what the module owns."""
        return self._ids.get(storage_of(tensor)[0])

    def among(self, values: Any) -> frozenset[int]:
        """The numbers of these tensors' storages."""
        tensors = (value for value in values if isinstance(value, torch.Tensor))
        return frozenset(key for t in tensors if (key := self.id_of(t)) is not None)

    def own_fakes(self, tensors: Sequence[torch.Tensor]) -> None:
        """These tensors without numbers are the module's own."""
        for tensor in tensors:
            key, self._own[key] = storage_of(tensor)

    def grown(self, key: int, size: int) -> None:
        super().grown(key, size)
        if key not in self._ids:
            self._ids[key] = len(self.made)
            self.made.append((self.phase, self._layer))
        self.events.append((self._ids[key], size, self.phase, self._layer))

    def freed(self, key: int, size: int) -> None:
        super().freed(key, size)
        self.events.append((self._ids.pop(key), -size, self.phase, ""))

    def seen(self, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        self._layer = self._running(op)
        if self.phase == "optimizer":
            made = self._counted(op, args, kwargs)
            if made is not None:
                self.hold([value for value in leaves(made) if isinstance(value, torch.Tensor)])
                return made
        return super().seen(op, args, kwargs)

    def _running(self, op: Any) -> str:
        """The layer whose forward or backward this is."""
        node = maker_of_gradient()
        if node is None or self._calls.inside:
            layer = self._calls.layer(op)
            # What makes no node of its own, such as asking for a device, finds the last one's.
            self._layers.setdefault(next_node() - 1, layer)
            return layer
        variable = getattr(node, "variable", None)
        if variable is not None:
            return self._paths.get(id(variable), "")
        return self._layers.get(node._sequence_nr(), self._calls.layer(op))

    def _counted(self, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What an optimizer makes of its own single numbers, such as its count of steps."""
        taken = [value for value in leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        if op is _ITEM and is_fake(taken[0]):
            self.assumed = True
            return 1.0
        if not taken:
            alone = op.overloadpacket.__name__ in _MADE_ALONE and args and args[0] in ((), [])
            return with_numbers(op, args, kwargs) if alone else None
        if any(is_fake(value) or value.numel() > 1 for value in taken):
            return None
        return with_numbers(op, args, kwargs)


def _worst(
    ledger: _Ledger,
    start: int,
    before: frozenset[int],
    kinds: Mapping[str, frozenset[int]],
    static: Mapping[str, int],
) -> StepMemory:
    """What was alive at the worst moment of the events from `start` on."""
    sizes: dict[int, int] = {}
    for key, size, _, _ in ledger.events[:start]:
        sizes[key] = sizes.get(key, 0) + size
    alive = {key: sizes[key] for key in before}
    now = most = sum(alive.values())
    worst: tuple[int, Phase, str] = (start, "forward", "")
    for index, (_, size, phase, layer) in enumerate(ledger.events[start:], start + 1):
        now += size
        if now > most:
            most, worst = now, (index, phase, layer)
    end, phase, layer = worst
    for key, size, _, _ in ledger.events[start:end]:
        alive[key] = alive.get(key, 0) + size
    found = {kind: sum(alive.get(key, 0) for key in keys) for kind, keys in kinds.items()}
    return StepMemory(
        peak_bytes=most + sum(static.values()),
        phase=phase,
        at=layer,
        temporaries=most - sum(found.values()),
        **static,
        **found,
    )


def _kept_of_layers(
    ledger: _Ledger, kept: frozenset[int], wanted: Mapping[int, tuple[str, ...]], start: int
) -> tuple[KeptMap, ...]:
    """What is kept of each layer's results, most bytes first."""
    sizes: dict[int, int] = {}
    for key, size, _, _ in ledger.events:
        if size > 0 and key in kept:
            sizes[key] = sizes.get(key, 0) + size
    by_layer: dict[str, tuple[int, dict[str, None]]] = {}
    for key in sorted(kept):
        layer = ledger.made[key][1] or "the loss"
        total, layers = by_layer.get(layer, (0, {}))
        layers.update(dict.fromkeys(wanted.get(key - start, ())))
        by_layer[layer] = (total + sizes[key], layers)
    rows = (KeptMap(layer, total, tuple(by)) for layer, (total, by) in by_layer.items())
    return tuple(sorted(rows, key=lambda row: -row.nbytes))


def _sum(output: Any) -> Any:
    """The sum of all floating outputs; None where there are none."""
    tensors = [leaf for leaf in leaves(output) if isinstance(leaf, torch.Tensor)]
    wide = [torch.view_as_real(leaf) if leaf.is_complex() else leaf for leaf in tensors]
    sums = [leaf.sum() for leaf in wide if leaf.is_floating_point()]
    return reduce(add, sums) if sums else None


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum({storage_of(t)[0]: storage_of(t)[1].nbytes() for t in tensors}.values())


def _loss_name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
