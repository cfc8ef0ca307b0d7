"""The life of every storage while a module runs on tensors that have no numbers."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from atrous.frameworks.structures import leaves
from atrous.frameworks.torch import (
    Ops,
    depends_on_data,
    is_fake,
    numberless,
    storage_of,
    unwatched,
    with_numbers,
)
from atrous.readers.torch.as_allocated import AddedIn, as_allocated

__all__ = ["Calls", "Storages", "without_numbers"]

MOST_INDICES = 1 << 12
"""So many whole numbers at most are computed, such as an index or a size that is stored."""


class Calls:
    """Which call of which module runs: its path, and `@1`, `@2` where it is called again."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._paths = {part: path for path, part in module.named_modules()}
        self._leaves = {part for part in self._paths if next(part.children(), None) is None}
        self._times: Counter[torch.nn.Module] = Counter()
        self._stack: list[tuple[torch.nn.Module, int]] = []

    def restart(self) -> None:
        """The next call of a module is its first one."""
        self._times.clear()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """While this lasts, calls are noted."""
        hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def inside(self) -> bool:
        """Whether some module runs."""
        return bool(self._stack)

    def layer(self, op: Any = None) -> str:
        """The layer that runs: a module without parts by its own name, others by the op too."""
        if not self._stack:
            return _label(op)
        part, time = self._stack[-1]
        path: str = self._paths[part]
        again = f"@{time}" if time else ""
        if part in self._leaves or op is None:
            return path + again
        return f"{path}.{_label(op)}{again}" if path else _label(op)

    def _enter(self, part: torch.nn.Module, _: Any) -> None:
        if part in self._paths:
            self._stack.append((part, self._times[part]))
            self._times[part] += 1

    def _leave(self, part: torch.nn.Module, _: Any, __: Any) -> None:
        if part in self._paths:
            self._stack.pop()


class Storages(Ops):
    """The bytes of all storages alive, from the op that makes each until nothing holds it.

    What the module holds itself is not counted; it is known by being there before.
    """

    def __init__(self, mode: Any, calls: Calls) -> None:
        super().__init__()
        self._mode = mode
        self._calls = calls
        self._sizes: dict[int, int] = {}
        self._ends: dict[int, Any] = {}
        self._own: dict[int, Any] = {}
        self._fakes: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._nothing: torch.Tensor | None = None
        self._added_in = AddedIn()
        self._now = self.peak = 0
        self.at = ""
        self.layers: list[str] = []
        self.course: list[int] = []

    def start(self, given: Sequence[Any]) -> None:
        """The inputs are alive from the start."""
        self.hold(given)
        self.peak = self._now

    def seen(self, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What the op makes, its storages among those alive from now on."""
        made = self._computed(op, args, kwargs)
        args = [self._faked(value) for value in args] if made is None else args
        if made is None:
            made = self._normalized(op, args)
        if made is None:
            made = _recurred(op, args)
        if made is None:
            made = as_allocated(op, args)
        if made is None:
            given = {key: self._faked(value) for key, value in kwargs.items()}
            made = self._added_in.written(op, args, given)
            if made is None:
                made = op(*args, **given)
        self._added_in.note(op, made)
        before = self._now
        self.hold(made if isinstance(made, list | tuple) else (made,))
        if self._now > before:
            layer = self._calls.layer(op)
            self.layers.append(layer)
            self.course.append(self._now)
            if self._now > self.peak:
                self.peak, self.at = self._now, layer
        return made

    def own(self, tensors: Sequence[torch.Tensor]) -> None:
        """What is there before the run; each is held, so that none takes the place of another."""
        for tensor in tensors:
            self._own_as(tensor, numberless(self._mode, tensor))

    def _own_as(self, tensor: torch.Tensor, fake: torch.Tensor) -> None:
        self._fakes[id(tensor)] = (tensor, fake)
        key, self._own[key] = storage_of(fake)

    def own_what_is_left(self, given: Sequence[Any]) -> bool:
        """Whether the run left storages behind; the module owns them, and the next run is new."""
        kept = {storage_of(value)[0] for value in given if isinstance(value, torch.Tensor)}
        left = {key: self._ends[key]() for key in self._sizes if key not in kept}
        left = {key: storage for key, storage in left.items() if storage is not None}
        if not left:
            return False
        self._own |= left
        for key in left:
            self._freed(key)
        self.peak, self.at, self.layers, self.course = self._now, "", [], []
        self._calls.restart()
        return True

    def hold(self, values: Sequence[Any]) -> None:
        """The storages of these tensors are alive, at the sizes that they have now."""
        for value in values:
            if not isinstance(value, torch.Tensor):
                continue
            key, storage = storage_of(value)
            size = storage.nbytes()
            if key in self._own or self._sizes.get(key) == size:
                continue
            self.grown(key, size - self._sizes.get(key, 0))
            if key not in self._sizes:
                self._ends[key] = weakref.ref(storage, partial(self._freed, key))
            self._sizes[key] = size

    def grown(self, key: int, size: int) -> None:  # noqa: ARG002 - for those that keep books
        """A storage takes so many bytes more, or fewer."""
        self._now += size

    def freed(self, key: int, size: int) -> None:  # noqa: ARG002
        """A storage is no more, which had so many bytes."""
        self._now -= size

    def _freed(self, key: int, _: Any = None) -> None:
        self._ends.pop(key)
        self.freed(key, self._sizes.pop(key))

    def _faked(self, value: Any) -> Any:
        """An argument; what was there before the run becomes numberless, once."""
        if isinstance(value, list | tuple):
            return type(value)(self._faked(part) for part in value)
        if not isinstance(value, torch.Tensor) or is_fake(value):
            return value
        if storage_of(value)[0] in self._sizes:
            # Made in this run: held by whoever holds it, and not here.
            fake = self._mode.from_tensor(value)
            key, self._own[key] = storage_of(fake)
            return fake
        if id(value) not in self._fakes:
            self._own_as(value, self._mode.from_tensor(value))
        return self._fakes[id(value)][1]

    def _computed(self, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What an op makes of a few whole numbers that no input reaches, and code may ask for.

        Where nothing of the kind is there, or the op writes into its arguments, None.
        """
        taken = [value for value in leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        if any(is_fake(value) for value in taken) or op._schema.is_mutable:
            return None
        if op is torch.ops.aten._local_scalar_dense.default:
            return with_numbers(op, args, kwargs)
        if not taken and not _is_short_range(op, args):
            return None
        if not all(map(_is_index, taken)) or torch.Tag.nondeterministic_seeded in op.tags:
            return None
        made = with_numbers(op, args, kwargs)
        tensors = [value for value in leaves(made) if isinstance(value, torch.Tensor)]
        return made if all(map(_is_index, tensors)) else None

    def _normalized(self, op: Any, args: Sequence[Any]) -> Any:
        """What batch norm makes at inference, which PyTorch would find out in a dozen steps."""
        if op is not torch.ops.aten.native_batch_norm.default or args[5]:
            return None
        if self._nothing is None:
            self._nothing = args[0].new_empty(0)
            key, self._own[key] = storage_of(self._nothing)
        return torch.empty_like(args[0]), self._nothing, self._nothing


def _recurred(op: Any, args: Sequence[Any]) -> Any:
    """What a recurrent layer of oneDNN makes in training: only a run tells what it notes down."""
    if op is not torch.ops.aten.mkldnn_rnn_layer.default or not args[-1]:
        return None

    def zeros(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return torch.zeros(value.shape, dtype=value.dtype)

    with unwatched():
        real = op(*(zeros(value) for value in args))
    return tuple(torch.empty_strided(part.shape, part.stride(), dtype=part.dtype) for part in real)


def _is_index(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a few whole numbers or truth values."""
    whole = not (tensor.is_floating_point() or tensor.is_complex())
    return whole and tensor.numel() <= MOST_INDICES and not tensor.is_quantized


def _is_short_range(op: Any, args: Sequence[Any]) -> bool:
    """Whether an op makes a few whole numbers in even steps."""
    if op.overloadpacket is not torch.ops.aten.arange or not all(type(n) is int for n in args):
        return False
    return len(range(*args)) <= MOST_INDICES


def without_numbers(error: Exception) -> str:
    """Why a run without numbers stopped."""
    said = (str(error).strip().splitlines() or [""])[0].strip()[:160]
    if depends_on_data(error):
        return f"its steps depend on the values of its inputs ({said})"
    return f"without numbers it raises {type(error).__name__}: {said}"


def _label(op: Any) -> str:
    """An op without what says how it is done."""
    name = str(getattr(getattr(op, "overloadpacket", None), "__name__", ""))
    return name.strip("_").removeprefix("native_").removesuffix("_with_indices")
