"""Statistics of whole maps, added up tile by tile in double precision, and layers that use them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import torch

from atrous.errors import UnsupportedError
from atrous.plan.sweeps import Digit, Statistic
from atrous.plan.tiles import Tile, TilePlan
from atrous.runners.tiled.counted import Slices, binned, cover_of, grouped, known_at, own_at

__all__ = ["Gathered", "Share", "Sums", "join"]

_ELEMENTS = 1 << 17
"""How many elements are added up at a time."""

_GATHERED = (
    "(native_)?(batch|group|layer|instance)_norm(_legit.*)?|(fused_)?rms_norm|batch_norm_no_update|"
    "mean|sum|amax|amin|max|min|var|std|var_mean|std_mean|any|all|linalg_vector_norm|norm|"
    "(adaptive_)?(avg|max)_pool[123]d(_with_indices)?"
)
"""The calls that are gathered, without what marks them as in place or internal."""


@dataclass
class Sums:
    """What is held of all elements so far, for each element of a statistic."""

    count: torch.Tensor
    mean: torch.Tensor
    squares: torch.Tensor
    """Sum of the squared distances from the mean."""
    other: torch.Tensor | None = None
    """Largest or smallest so far, or the sum of a power."""

    def apart(self) -> Sums:
        """A copy whose mean and squares take gradients."""
        made = [one.clone() for one in (self.count, self.mean, self.squares)]
        other = None if self.other is None else self.other.clone()
        return Sums(made[0], made[1].requires_grad_(), made[2].requires_grad_(), other)


@dataclass
class Share:
    """What one tile adds to a statistic of `held` elements, at `places` of it."""

    held: tuple[int, ...]
    places: Slices
    sums: Sums
    start: float | None


class Gathered:
    """The statistics of one image: filled sweep by sweep, then used in place of the layers' own."""

    def __init__(self, plan: TilePlan, nodes: Mapping[str, Any], found: dict[str, Sums]) -> None:
        self.plan, self.found = plan, found
        self.calls = {one.layer: Call.of(one, nodes) for one in plan.gathered}

    def in_sweep(self, sweep: int) -> dict[str, str]:
        """The layers of a sweep, by the nodes that call them."""
        return {one.origin: one.layer for one in self.plan.gathered if one.sweep == sweep}

    def counting(
        self, sweep: int, count: Callable[[str, torch.Tensor], None]
    ) -> dict[str, Callable[..., Any]]:
        """The layers of a sweep, as functions that count their operand and make nothing of it."""

        def counted(layer: str) -> Callable[..., Any]:
            def call(x: torch.Tensor, *_: Any, **__: Any) -> Any:
                count(layer, x)
                return self.calls[layer].nothing(x)

            return call

        return {origin: counted(layer) for origin, layer in self.in_sweep(sweep).items()}

    def own(self, layer: str, value: torch.Tensor, tile: Tile) -> tuple[torch.Tensor, Slices]:
        """The positions of a value that a tile stands for, each digit a dimension, and where."""
        call = self.calls[layer]
        made = self._digits(call, value)
        local, whole = own_at(self.plan, call.tensor, call.digits, tile)
        return made[local], whole

    def share(self, layer: str, value: torch.Tensor, tile: Tile) -> Share | None:
        """What the positions of a value that a tile stands for add to a statistic, if anything."""
        call = self.calls[layer]
        own, whole = self.own(layer, value, tile)
        if not own.numel():
            return None
        held = tuple(one.held for one in call.digits)
        places = cover_of(call.digits, whole)
        sums = _empty([len(range(n)[s]) for n, s in zip(held, places, strict=True)], call.start)
        for here, part in binned(call.digits, whole):
            pairs = zip(call.digits, part, strict=True)
            inside = tuple(s if one.over or one.bins else slice(None) for one, s in pairs)
            _add(sums, own[here], inside, call)
        return Share(held, places, sums, call.start)

    def add(self, layer: str, value: torch.Tensor, tile: Tile) -> None:
        """Counts the positions of a value that a tile stands for."""
        share = self.share(layer, value, tile)
        if share is not None:
            join(self.found, layer, share)

    def pulled(self, layer: str, value: torch.Tensor, tile: Tile) -> torch.Tensor:
        """A number that changes with a value as the loss does by way of the layer's statistics.

        A mean changes with each of its `n` elements by `1 / n`, the sum of squared distances by
        twice the element's own distance: the mean's share in them cancels.
        """
        call, sums = self.calls[layer], self.found[layer]
        if call.way != "moments":
            raise UnsupportedError(
                f"{layer}: gradients do not go through a maximum or a length by tiles."
            )
        own, whole = self.own(layer, value, tile)
        found = torch.zeros((), dtype=torch.double)
        for here, part in binned(call.digits, whole) if own.numel() else ():
            piece = call.seen(own[here])
            device = piece.device
            for by, weight in ((sums.mean.grad, 1 / sums.count), (sums.squares.grad, None)):
                if by is None:
                    continue
                if weight is not None:
                    share = (by * weight)[part].to(device) * piece
                else:
                    mean = sums.mean.detach()[part].to(device)
                    share = by[part].to(device) * (piece - mean).square()
                found = found + share.sum().cpu()
        return found

    def instead(self, sweep: int, tile: Tile) -> dict[str, Callable[..., Any]]:
        """The norms whose statistics are known in a sweep, as functions that use them."""
        return {
            one.origin: partial(call.normalized, self._sums(call, tile))
            for one, call in self._known(sweep)
            if call.is_norm
        }

    def results(self, sweep: int, tile: Tile, device: torch.device) -> dict[str, Any]:
        """What means, maxima and the like give that are known in a sweep, for a tile."""
        return {
            one.origin: call.reduced(self._sums(call, tile), device)
            for one, call in self._known(sweep)
            if not call.is_norm
        }

    def _known(self, sweep: int) -> list[tuple[Statistic, Call]]:
        return [(one, self.calls[one.layer]) for one in self.plan.gathered if one.sweep < sweep]

    def _digits(self, call: Call, value: torch.Tensor) -> torch.Tensor:
        if tuple(value.shape) != call.shape:
            raise UnsupportedError(
                f"{call.layer}: reads {tuple(value.shape)} where {call.shape} is planned, so what "
                "is gathered of it is not known."
            )
        return value.reshape([one.made for one in call.digits])

    def _sums(self, call: Call, tile: Tile) -> Sums:
        sums = self.found[call.layer]
        here = known_at(self.plan, call.tensor, call.digits, tile)
        other = None if sums.other is None else sums.other[here]
        return Sums(sums.count[here], sums.mean[here], sums.squares[here], other)
        other = None if sums.other is None else sums.other[here]
        return Sums(sums.count[here], sums.mean[here], sums.squares[here], other)


@dataclass(frozen=True)
class Call:
    """One call of a layer that mixes all positions."""

    layer: str
    tensor: str
    name: str
    digits: tuple[Digit, ...]
    shape: tuple[int, ...]
    """Of the operand in a tile."""
    made: Any
    """The result in a tile, as it was recorded."""
    schema: Any = field(repr=False)
    given: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, one: Statistic, nodes: Mapping[str, Any]) -> Call:
        """The call that a plan names, among the nodes of a graph."""
        node = nodes.get(one.origin)
        schema = getattr(getattr(node, "target", None), "_schema", None)
        name = getattr(schema, "name", "").rpartition("::")[2].rstrip("_").removeprefix("_")
        known = node is not None and re.fullmatch(_GATHERED, name)
        if node is None or not known or not isinstance(node.args[0], torch.fx.Node):
            raise UnsupportedError(
                f"{one.layer}: sums over all positions by {name or 'another call'}, which tiles do "
                "not gather; write it as a sum or a mean over dimensions."
            )
        given = bound(schema, node.args, node.kwargs)
        if any(user.args[1] > 0 for user in node.users if _takes_place(user)) and (
            "max" in name or "min" in name
        ):
            raise UnsupportedError(
                f"{one.layer}: the places of its maxima are used, which tiles do not gather."
            )
        digits = one.digits
        groups = given.get("num_groups", given.get("group"))
        if groups is not None:
            digits = grouped(digits, groups)
        sizes = [(one.dim, one.made) for one in one.digits]
        rank = len(node.args[0].meta["val"].shape)
        shape = tuple(prod(made for dim, made in sizes if dim == i) for i in range(rank))
        made = node.meta["val"]
        return cls(one.layer, one.tensor, name, digits, shape, made, schema, given)

    @property
    def over(self) -> list[int]:
        """The digits that a statistic is one number for."""
        return [index for index, one in enumerate(self.digits) if one.over or one.bins]

    @property
    def way(self) -> str:
        """How elements are added up: as moments, the largest, the smallest, or a power's sum."""
        if self.name in ("amax", "max", "any") or "max_pool" in self.name:
            return "largest"
        if self.name in ("amin", "min", "all"):
            return "smallest"
        if self.name in ("linalg_vector_norm", "norm"):
            return "largest" if self.power == float("inf") else "power"
        return "moments"

    @property
    def start(self) -> float | None:
        """Where nothing is counted yet, what stands for it; None of moments."""
        starts = {"largest": -torch.inf, "smallest": torch.inf, "power": 0.0}
        return starts.get(self.way)

    @property
    def power(self) -> float:
        """The order of a norm over positions."""
        order = self.given.get("ord", self.given.get("p"))
        return 2.0 if order is None else float(order)

    def seen(self, piece: torch.Tensor) -> torch.Tensor:
        """Elements as they are added up."""
        if self.name in ("any", "all"):
            piece = piece != 0
        piece = (piece.cpu() if piece.device.type == "mps" else piece).double()
        return piece.abs() if self.name in ("linalg_vector_norm", "norm") else piece

    def nothing(self, x: torch.Tensor) -> Any:
        """What stands for the result where it is not used, without memory of its own."""
        several = self.made if isinstance(self.made, tuple | list) else (self.made,)
        found = [x.new_zeros(()).to(one.dtype).expand(one.shape) for one in several]
        return found[0] if isinstance(self.made, torch.Tensor) else tuple(found)

    @property
    def is_norm(self) -> bool:
        """Whether it makes something of each position, by the statistics of all."""
        return "norm" in self.name and self.way == "moments"

    def reduced(self, sums: Sums, device: torch.device) -> Any:
        """What it gives by finished statistics."""
        made = self.made if isinstance(self.made, torch.Tensor) else None
        found = self._numbers(sums)
        if made is not None:
            return _as(found[0], made, device)
        several = [_as(value, like, device) for value, like in zip(found, self.made, strict=False)]
        return (*several, *[None] * (len(self.made) - len(several)))

    def _numbers(self, sums: Sums) -> list[torch.Tensor]:
        if self.way == "power":
            assert sums.other is not None
            return [sums.other if self.power == 0 else sums.other ** (1 / self.power)]
        if self.way != "moments":
            assert sums.other is not None
            return [sums.other]
        if self.name == "sum":
            return [sums.mean * sums.count]
        divisor = self.given.get("divisor_override")
        if divisor is not None:
            return [sums.mean * sums.count / divisor]
        if self.name in ("mean",) or "pool" in self.name:
            return [sums.mean]
        less = self.given.get("correction")
        less = float(self.given.get("unbiased", True)) if less is None else float(less)
        spread = sums.squares / (sums.count - less).clamp(min=0)
        spread = spread.sqrt() if self.name.startswith("std") else spread
        return [spread, sums.mean] if self.name.endswith("_mean") else [spread]

    def normalized(self, sums: Sums, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """`(x - mean) / sqrt(variance + eps) * weight + bias`; without the mean for RMS."""
        given = bound(self.schema, (x, *args), kwargs)
        like = self.made if isinstance(self.made, torch.Tensor) else self.made[0]
        work = x if x.dtype in (torch.float32, torch.float64) else x.float()
        work = work.reshape([one.made for one in self.digits])
        variance = sums.squares / sums.count
        rms = "rms" in self.name
        eps = given.get("eps")
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        scale = ((variance + sums.mean.square() if rms else variance) + eps).rsqrt()
        scale = scale.to(work.device, work.dtype)
        out = work.clone() if rms else work - sums.mean.to(work.device, work.dtype)
        out = out.mul_(scale).reshape(x.shape)
        by_channel = "layer" not in self.name and not rms
        shape = [1, -1] + [1] * (x.dim() - 2)
        for name, apply in (("weight", torch.Tensor.mul_), ("bias", torch.Tensor.add_)):
            held = given.get(name)
            if held is not None:
                apply(out, (held.view(shape) if by_channel else held).to(out.dtype))
        out = out.to(like.dtype)
        return out if isinstance(self.made, torch.Tensor) else (out, *[None] * (len(self.made) - 1))


def _as(value: torch.Tensor, like: torch.Tensor, device: torch.device) -> torch.Tensor:
    if not like.is_floating_point() and like.dtype != torch.bool:
        value = value.round()
    return value.reshape(like.shape).to(device=device, dtype=like.dtype)


def bound(schema: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, with the schema's defaults."""
    named = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
    named.update(zip((one.name for one in schema.arguments), args, strict=False))
    return {**named, **kwargs}


def _takes_place(user: Any) -> bool:
    return len(user.args) == 2 and isinstance(user.args[1], int) and "getitem" in str(user.target)


def _empty(shape: Sequence[int], start: float | None) -> Sums:
    count, mean, squares = (torch.zeros(tuple(shape), dtype=torch.double) for _ in range(3))
    other = None if start is None else torch.full(tuple(shape), start, dtype=torch.double)
    return Sums(count, mean, squares, other)


def join(found: dict[str, Sums], layer: str, share: Share) -> None:
    """Adds what a tile counted to a statistic; moments by Chan et al. (1983)."""
    if layer not in found:
        found[layer] = _empty(share.held, share.start)
    sums, more, part = found[layer], share.sums, share.places
    if sums.other is not None and more.other is not None:
        target = sums.other[part]
        if share.start == 0:
            target += more.other
        else:
            largest = torch.maximum if share.start == -torch.inf else torch.minimum
            largest(target, more.other, out=target)
        return
    count, middle, squares = sums.count[part], sums.mean[part], sums.squares[part]
    # Of a bin in which a tile has no position nothing is counted.
    total = (count + more.count).clamp(min=1)
    apart = more.mean - middle
    squares += more.squares + apart.square() * count * more.count / total
    middle += apart * more.count / total
    count += more.count


def _add(sums: Sums, own: torch.Tensor, part: Slices, call: Call) -> None:
    """Adds elements, a piece at a time; moments by Chan et al. (1983)."""
    over = call.over
    dim = max(over, key=lambda index: own.shape[index])
    each = max(1, _ELEMENTS * own.shape[dim] // own.numel())
    for held in own.split(each, dim):
        piece = call.seen(held)
        if call.way != "moments":
            assert sums.other is not None
            target = sums.other[part]
            if call.way == "power":
                powers = piece != 0 if call.power == 0 else piece**call.power
                target += powers.sum(over, keepdim=True, dtype=torch.double).cpu()
            elif call.way == "largest":
                torch.maximum(target, piece.amax(over, keepdim=True).cpu(), out=target)
            else:
                torch.minimum(target, piece.amin(over, keepdim=True).cpu(), out=target)
            continue
        more = prod(piece.shape[index] for index in over)
        variance, mean = torch.var_mean(piece, over, correction=0, keepdim=True)
        count, middle, squares = sums.count[part], sums.mean[part], sums.squares[part]
        total = count + more
        apart = mean.cpu() - middle
        squares += variance.cpu() * more + apart.square() * count * more / total
        middle += apart * more / total
        count += more
