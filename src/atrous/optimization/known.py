"""What was measured, and found equal, of a model before: same weights, inputs, machine.

Of a model that trains only what the layouts took: its weights are others every time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from atrous.optimization.contest import Turns
from atrous.optimization.graph.export import Exported
from atrous.optimization.layer.choose import Choice
from atrous.optimization.order import Order
from atrous.optimization.records import Layout

__all__ = ["KnownLayer", "KnownWhole", "Share"]

_LAYOUTS: tuple[Layout, ...] = ("contiguous", "channels_last")
_BEHIND = 1.2
"""An engine that took this many times as long as the best is not made again."""


@dataclass(frozen=True, slots=True)
class KnownLayer:
    """The strategy of a layer that was chosen before, and what was found of it then."""

    strategy: str
    difference: float
    error: float | None = None
    direct_error: float | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What a layer takes of the whole's time, before and after, and why it was slow before."""

    before: float
    after: float
    slow_path: str = ""


class KnownWhole:
    """The whole model's times and differences of another day, by name; empty the first time.

    They are kept beside the choices of layers, under a digest of the graph, all weights and the
    inputs' shapes. What is run is still compared with the model, but with less ado. Without a graph
    the digest is of the modules, as they are written, and of which weights there are; not of code.
    """

    def __init__(self, order: Order, found: Exported | None) -> None:
        self._choices = order.choices
        digest = _modules_digest(order) if found is None else _model_digest(order, found)
        self._key = f"{'trained whole' if found is None else 'whole'} {digest}"
        self._known = dict(order.choices.get(self._key) or {})

    @property
    def layout(self) -> Layout | None:
        """The layout that was fastest; None where none is known."""
        known = [one for one in _LAYOUTS if f"share {one}" in self._known]
        return min(known, key=lambda one: self._known[f"share {one}"], default=None)

    def difference(self, layout: Layout) -> float | None:
        """How far the program of a layout was from the model."""
        return self._known.get(f"difference {layout}")

    @property
    def times(self) -> dict[str, float]:
        """Milliseconds of the original ("before"), and of what could take its place."""
        known = self._known.items()
        return {key.removeprefix("ms "): ms for key, ms in known if key.startswith("ms ")}

    def behind(self, engine: str) -> float | None:
        """What an engine took, where that was clearly more than the best; else None."""
        shares = [part for name, part in self._known.items() if name.startswith("share ")]
        taken = self._known.get(f"share {engine}")
        if taken is None or taken <= _BEHIND * min(shares):
            return None
        return self._known[f"ms {engine}"]

    def layers(self, layout: Layout) -> dict[str, KnownLayer]:
        """The layers of a layout's program by the names of their nodes."""
        return {
            name: KnownLayer(
                strategy,
                difference,
                self._known.get(f"{layout} {name} error"),
                self._known.get(f"{layout} {name} direct error"),
            )
            for name, strategy, difference in self._told(layout, "by")
        }

    def note(self, layout: Layout, difference: float, choices: Mapping[str, Choice]) -> None:
        """Holds what came of a layout's program."""
        self._known = {k: v for k, v in self._known.items() if not k.startswith(f"{layout} ")}
        for name, one in choices.items():
            self._known[f"{layout} {name} by {one.strategy}"] = one.difference
            if one.error is not None:
                self._known[f"{layout} {name} error"] = one.error
            if one.direct_error is not None:
                self._known[f"{layout} {name} direct error"] = one.direct_error
        self._known[f"difference {layout}"] = difference

    def shares(self, layout: Layout) -> dict[str, Share]:
        """What the layers of a layout's program took of the whole; empty where nobody measured."""
        slow = {name: text for name, text, _ in self._told(layout, "slow")}
        after = {name: share for name, _, share in self._told(layout, "after")}
        return {
            name: Share(before, after[name], slow.get(name, ""))
            for name, _, before in self._told(layout, "before")
            if name in after
        }

    def note_shares(self, layout: Layout, shares: Mapping[str, Share]) -> None:
        """Holds what the layers of a layout's program take of the whole."""
        for name, one in shares.items():
            self._known[f"{layout} {name} before "] = one.before
            self._known[f"{layout} {name} after "] = one.after
            if one.slow_path:
                self._known[f"{layout} {name} slow {one.slow_path}"] = 0.0

    def _told(self, layout: Layout, what: str) -> Iterator[tuple[str, str, float]]:
        """The names of layers, what follows after the word `what`, and the number that is held."""
        for key, value in self._known.items():
            name, word, text = key.removeprefix(f"{layout} ").partition(f" {what} ")
            if word and key.startswith(f"{layout} ") and " " not in name:
                yield name, text, value

    def save(self, taken: Mapping[str, Turns]) -> None:
        """Writes what is known with these times, which take the place of those of before.

        Single turns, which found those of before about right, do not. Beside its milliseconds each
        has its share of the original's of the same contest: days differ.
        """
        before = taken["before"].ms
        for name, one in taken.items():
            if one.turns > 1 or f"share {name}" not in self._known:
                self._known[f"ms {name}"] = one.ms
                self._known[f"share {name}"] = one.ms / before if before else 1.0
        self._choices.put(self._key, self._known)
        self._choices.save()


def _model_digest(order: Order, found: Exported) -> str:
    made = hashlib.blake2b(digest_size=16)
    made.update(str(found.graph).encode())
    made.update(_asked(order))
    for name, value in _weights_in_order(order, found):
        made.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        made.update(_raw_bytes(value))
    return made.hexdigest()


def _modules_digest(order: Order) -> str:
    kind = type(order.model)
    made = hashlib.blake2b(digest_size=16)
    made.update(f"{kind.__module__}.{kind.__qualname__} {order.model!r}".encode())
    made.update(_asked(order))
    for name, value in _state_of(order.model):
        about = (tuple(value.shape), value.dtype, value.stride(), value.requires_grad)
        made.update(f"{name} {about}".encode())
    return made.hexdigest()


def _asked(order: Order) -> bytes:
    shapes = [(tuple(x.shape), str(x.dtype), x.stride()) for x in order.inputs]
    return repr((shapes, order.rounding)).encode()


def _weights_in_order(order: Order, found: Exported) -> Iterable[tuple[str, torch.Tensor]]:
    yield from _state_of(order.model)
    yield from sorted(found.constants.items())


def _state_of(model: nn.Module) -> Iterable[tuple[str, torch.Tensor]]:
    """All parameters and buffers, those that are not saved with the model included."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _raw_bytes(value: torch.Tensor) -> memoryview | bytes:
    """What a tensor holds; what is no plain array is like nothing that was seen before."""
    try:
        flat = value.detach().cpu().contiguous().view(-1)
        return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b""
    except (RuntimeError, TypeError, NotImplementedError):
        return os.urandom(16)
