"""Tensors along time that no input reaches: zeros, ranges, tables of positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from atrous.runners.stream.rules.base import Ends, Peer, Rule, Step, Timed, most_sure
from atrous.runners.stream.rules.calling import called

__all__ = ["Source", "source_rule"]


class Source(Rule):
    """As many positions as a value is long, but for a number; `make` makes a stretch of them."""

    placed = True

    def __init__(
        self,
        peers: tuple[Peer, ...],
        make: Callable[[int, int], torch.Tensor],
        *,
        counted: bool = False,
    ) -> None:
        super().__init__(())
        self.peers, self.make, self.counted = peers, make, counted

    def sure(self, sure: Sequence[int]) -> int:
        """As many as the best known of its peers is long."""
        return most_sure(self.peers, sure)

    def ready(self, made: Sequence[int], sure: int) -> int:  # noqa: ARG002
        """All that there are for certain."""
        return sure

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:  # noqa: ARG002
        """The stretch, as far on as the stream is."""
        start, stop, make = outputs.start, outputs.stop, self.make
        return lambda moved: make(start + moved, stop + moved)


_FILLED = frozenset({"zeros", "ones", "full", "empty"})


def source_rule(call: Timed) -> Rule:
    """The rule of a call that no input reaches and that is as long as the input has it."""
    out, name = call.value, call.name
    if len(out.dims) > 1:
        raise call.refusal(f"its {name} is a table of all of time by all of time")
    peers = call.known.peers(out.lengths, out.rate)
    dim = out.dim
    if name in _FILLED:
        call.same("size")
        filled = _made_with(call, call.node.target, {"size": _with_one(call["size"], dim)})
        return Source(peers, lambda start, stop: filled.expand(_long(filled, dim, stop - start)))
    if name == "arange":
        call.same("end")
        start = call["start"] or 0
        each = call["step"] or 1
        meta = call.node.meta["val"]
        dtype, device = meta.dtype, meta.device

        def count(first: int, stop: int) -> torch.Tensor:
            places = torch.arange(first, stop, device=device)
            if dtype.is_floating_point:
                places = places.double()
            return places.mul(each).add(start).to(dtype)

        return Source(peers, count, counted=True)
    if name == "expand":
        call.same("size")
        base = call.known.constant(call["self"])
        shape = list(out.shape)
        return Source(
            peers,
            lambda start, stop: base.expand([*shape[:dim], stop - start, *shape[dim + 1 :]]),
        )
    if name in ("slice", "narrow"):
        call.same("end", "length")
        table = call.known.constant(call["self"])
        first, step = int(call["start"] or 0), int(call["step"] or 1)
        if first < 0 or step != 1:
            raise call.refusal("it takes the end of a table, as much as the input is long")

        def rows(start: int, stop: int) -> torch.Tensor:
            if first + stop > table.shape[dim]:
                raise call.refusal(
                    f"its table has {table.shape[dim]:,} positions, and the stream goes on; the "
                    "model itself takes no longer input"
                )
            return table.narrow(dim, first + start, stop - start)

        return Source(peers, rows, counted=True)
    raise call.refusal(
        f"its {name} makes a tensor as long as the input, in a way that is not followed"
    )


def _made_with(call: Timed, target: Any, change: dict[str, Any]) -> torch.Tensor:
    """What a call makes with some of its arguments changed."""
    made: torch.Tensor = called(call, target, change)[1]()
    return made


def _with_one(size: Sequence[int], dim: int) -> list[int]:
    return [1 if d == dim else int(n) for d, n in enumerate(size)]


def _long(x: torch.Tensor, dim: int, count: int) -> list[int]:
    return [count if d == dim else n for d, n in enumerate(x.shape)]
