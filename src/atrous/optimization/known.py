"""What was measured, and found equal, of this very model before: same weights, inputs, machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch

from atrous.optimization.graph.export import Exported
from atrous.optimization.order import Order
from atrous.optimization.records import Layout

__all__ = ["KnownWhole"]

_LAYOUTS: tuple[Layout, ...] = ("contiguous", "channels_last")
_BEHIND = 1.2
"""An engine that took this many times as long as the best is not made again."""


class KnownWhole:
    """The whole model's times and differences of another day, by name; empty the first time.

    They are kept beside the choices of layers, under a digest of the graph, all weights and the
    inputs' shapes. What is run is still compared with the model, but with less ado.
    """

    def __init__(self, order: Order, found: Exported) -> None:
        self._choices = order.choices
        self._key = f"whole {_model_digest(order, found)}"
        self._known = dict(order.choices.get(self._key) or {})

    @property
    def layout(self) -> Layout | None:
        """The layout that was fastest; None where none is known."""
        known = [one for one in _LAYOUTS if f"ms {one}" in self._known]
        return min(known, key=lambda one: self._known[f"ms {one}"], default=None)

    def difference(self, layout: Layout) -> float | None:
        """How far the program of a layout was from the model."""
        return self._known.get(f"difference {layout}")

    def limit(self, layout: Layout, allowed: float) -> float:
        """How much its layers were allowed to round off."""
        return self._known.get(f"limit {layout}", allowed)

    def behind(self, engine: str) -> float | None:
        """What an engine took, where that was clearly more than the best; else None."""
        times = [ms for name, ms in self._known.items() if name.startswith("ms ")]
        taken = self._known.get(f"ms {engine}")
        return taken if taken is not None and taken > _BEHIND * min(times) else None

    def note(self, layout: Layout, difference: float, limit: float) -> None:
        """Holds what came of a layout's program."""
        self._known[f"difference {layout}"] = difference
        self._known[f"limit {layout}"] = limit

    def save(self, times: Mapping[str, float]) -> None:
        """Writes what is known with these times, which take the place of those of before."""
        self._known.update({f"ms {name}": ms for name, ms in times.items()})
        self._choices.put(self._key, self._known)
        self._choices.save()


def _model_digest(order: Order, found: Exported) -> str:
    made = hashlib.blake2b(digest_size=16)
    made.update(str(found.graph).encode())
    shapes = [(tuple(x.shape), str(x.dtype), x.stride()) for x in order.inputs]
    made.update(repr((shapes, order.rounding)).encode())
    for name, value in _weights_in_order(order, found):
        made.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        made.update(_raw_bytes(value))
    return made.hexdigest()


def _weights_in_order(order: Order, found: Exported) -> Iterable[tuple[str, torch.Tensor]]:
    yield from order.model.state_dict().items()
    yield from sorted(found.constants.items())


def _raw_bytes(value: torch.Tensor) -> memoryview | bytes:
    flat = value.detach().cpu().contiguous().view(-1)
    return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b""
