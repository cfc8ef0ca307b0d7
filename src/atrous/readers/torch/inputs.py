"""What a module is called with: shapes, tensors, lists and dicts of either, plain values."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch.nn.parameter import UninitializedBuffer, is_lazy

from atrous.errors import ReadError
from atrous.frameworks.torch import in_mode, quiet
from atrous.readers.given import as_shape, is_shape

__all__ = ["Examples", "examples_for", "first_line", "is_sized", "with_sizes"]

_KEPT = (torch.Tensor, bool, int, float, str, type(None))
_SEEDS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Examples:
    """The arguments of one call.

    `made` are the tensors that stand for a shape: they hold nothing that counts, and may be of
    another type where the module wants one.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    made: frozenset[int]

    def mapped(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Examples:
        """The arguments with another tensor for each; the new ones stand for shapes as the old."""
        made = set()

        def each(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                new = function(value)
                if id(value) in self.made:
                    made.add(id(new))
                return new
            if isinstance(value, list | tuple):
                return type(value)(each(part) for part in value)
            if isinstance(value, dict):
                return {key: each(part) for key, part in value.items()}
            return value

        args, kwargs = each(self.args), each(dict(self.kwargs))
        return replace(self, args=args, kwargs=kwargs, made=frozenset(made))

    def tensors(self) -> list[torch.Tensor]:
        """All tensors, in order."""
        found: list[torch.Tensor] = []

        def note(tensor: torch.Tensor) -> torch.Tensor:
            found.append(tensor)
            return tensor

        self.mapped(note)
        return found

    def whole_numbers(self, places: frozenset[int]) -> Examples:
        """With zeros for the tensors of these places, of a type that indices have."""
        places = frozenset(id(tensor) for i, tensor in enumerate(self.tensors()) if i in places)

        def whole(tensor: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(tensor, dtype=torch.int64) if id(tensor) in places else tensor

        return self.mapped(whole)

    def numbers(self, draw: int) -> Examples:
        """With numbers in what stands for a shape; from the second draw on, with others in all.

        Drawn are numbers from 0 to 1, then among all numbers. Examples that were given are there as
        they are at first, and then drawn from among their own values, floats with noise.
        """
        random = torch.Generator().manual_seed(_SEEDS[draw])

        def drawn(tensor: torch.Tensor) -> torch.Tensor:
            if id(tensor) in self.made:
                if not tensor.is_floating_point():
                    return torch.zeros_like(tensor)
                make = torch.randn if draw == 1 else torch.rand
                return make(tensor.shape, generator=random).to(tensor)
            if not draw:
                return tensor
            values = tensor.detach().flatten().cpu()
            if not len(values):
                return tensor
            new = values[torch.randint(len(values), (len(values),), generator=random)]
            if new.is_floating_point():
                spread = values.double().std().nan_to_num().item() + 0.1 if len(values) > 1 else 1.0
                noise = torch.randn(new.shape, generator=random) * spread
                new = new + noise.to(new.dtype)
            return new.reshape(tensor.shape).to(tensor.device)

        return self.mapped(drawn)

    def __str__(self) -> str:
        return ", ".join("x".join(map(str, tensor.shape)) or "()" for tensor in self.tensors())


def examples_for(module: torch.nn.Module, input: Any, name: str) -> Examples:
    """The arguments to call a module with: tensors as they were given, and one for each shape.

    `input` is a shape, an example tensor, or a list or tuple of these, of which each is one
    argument; a dict has them by name. An argument may itself be a list, a tuple or a dict of these,
    or a plain value.
    """
    if input is None:
        raise ReadError(
            f"{name}: a module does not say what it takes; give its shape with batch and "
            "channels, such as input=(1, 3, 224, 224), or example tensors."
        )
    if not is_sized(module):
        raise ReadError(
            f"{name}: some of its layers take their sizes from the first input that they see; call "
            "it once on an example, then read it."
        )
    return _arguments(_Maker(module, name), input)


def _arguments(maker: _Maker, input: Any) -> Examples:
    if isinstance(input, Mapping):
        return maker.by_name(input)
    if isinstance(input, list | tuple) and not is_shape(input):
        args = tuple(maker.made(value) for value in input)
    else:
        args = (input if isinstance(input, torch.Tensor) else maker.stand_in(input),)
    return Examples(args, {}, maker.stand_ins())


def is_sized(module: torch.nn.Module) -> bool:
    """Whether no layer waits for its first input to take its sizes from."""
    return not any(map(is_lazy, chain(module.parameters(), module.buffers())))


def with_sizes(module: torch.nn.Module, input: Any, name: str) -> torch.nn.Module:
    """The module; of one with lazy layers a copy that has run once, so that they have sizes.

    The copy runs in evaluation mode on the tensors given, and zeros of the shapes given; weights
    that are drawn are the same at every call, and the caller's random numbers stay. Raises
    `ReadError` where it does not run, or cannot be copied.
    """
    if input is None or is_sized(module):
        return module
    waits = f"{name}: some of its layers take their sizes from the first input that they see, and"
    # PyTorch 2.13 copies parameters without sizes, but not buffers.
    empty: Any = UninitializedBuffer
    fresh = {
        id(one): empty(device=one.device, dtype=one.dtype)
        for one in module.buffers()
        if is_lazy(one)
    }
    try:
        made: torch.nn.Module = copy.deepcopy(module, fresh)
    except Exception as error:
        raise ReadError(
            f"{waits} it cannot be copied ({first_line(error)}); call it once on an example, then "
            "give it."
        ) from error
    given = _arguments(_Maker(made, name), input)
    zeros = given.mapped(lambda x: torch.zeros_like(x) if id(x) in given.made else x)
    places = frozenset(i for i, x in enumerate(zeros.tensors()) if id(x) in zeros.made)
    refused: list[Exception] = []
    for tried in (zeros, zeros.whole_numbers(places)):
        try:
            with (
                in_mode(made, training=False),
                torch.no_grad(),
                quiet(),
                torch.random.fork_rng(devices=[]),
            ):
                torch.default_generator.manual_seed(0)
                made(*tried.args, **tried.kwargs)
        except Exception as error:
            refused.append(error)
        else:
            return made
    raise ReadError(f"{waits} on this one it does not run: {first_line(refused[0])}") from refused[
        0
    ]


def first_line(error: Exception) -> str:
    """What an error says in its first line, or its class where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip()[:200]


class _Maker:
    """Makes the arguments of one module."""

    def __init__(self, module: torch.nn.Module, name: str) -> None:
        self._module, self._name = module, name
        self._like = next(
            (p for p in module.parameters() if not is_lazy(p) and p.is_floating_point()),
            torch.empty(0),
        )
        self._made: list[torch.Tensor] = []
        self._scalars = False

    def stand_ins(self) -> frozenset[int]:
        """The tensors that stand for shapes."""
        return frozenset(id(tensor) for tensor in self._made)

    def by_name(self, input: Mapping[str, Any]) -> Examples:
        """Keyword arguments; where `forward` has no such names and one parameter, that dict."""
        self._scalars = True
        values = {key: self.made(value) for key, value in input.items()}
        parameters = inspect.signature(self._module.forward).parameters
        kinds = [parameter.kind for parameter in parameters.values()]
        unknown = [key for key in values if key not in parameters]
        if not unknown or inspect.Parameter.VAR_KEYWORD in kinds:
            return Examples((), values, self.stand_ins())
        if len(parameters) == 1 and len(unknown) == len(values):
            return Examples((values,), {}, self.stand_ins())
        raise ReadError(
            f"{self._name}: no input is called {', '.join(map(repr, unknown))}; its forward takes "
            f"{', '.join(parameters)}."
        )

    def made(self, value: Any) -> Any:
        """One argument."""
        if isinstance(value, _KEPT):
            return value
        if isinstance(value, Mapping):
            return {key: self.made(part) for key, part in value.items()}
        if isinstance(value, list | tuple) and not is_shape(value):
            return type(value)(self.made(part) for part in value)
        return self.stand_in(value)

    def stand_in(self, value: Any) -> torch.Tensor:
        """A tensor of a shape, of the type and on the device of the module's parameters."""
        scalar = self._scalars and isinstance(value, tuple) and not value
        shape = () if scalar else as_shape(value, self._name)
        # Never read: whoever runs on it fills it first.
        tensor = torch.empty(shape, dtype=self._like.dtype, device=self._like.device)
        self._made.append(tensor)
        return tensor
