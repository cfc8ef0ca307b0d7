"""What is found: schedules that no other of the space beats, with what each sees and costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from atrous.analysis import Inspection, inspect_network
from atrous.analysis.scale import Scale
from atrous.errors import UnreachableError
from atrous.geometry import Window, ahead_within, causal, same_torch, symmetric
from atrous.network.stack import stack_network
from atrous.progress import step
from atrous.search.costs import ChainLayer, Latency, Pricing, recomputed_share
from atrous.search.ladder import Found, Ladder, Rung, Unbeaten
from atrous.search.skeletons import Group, Skeleton, skeletons
from atrous.search.space import LayerKind, Price, Space, power_of_ten
from atrous.shown import Plain, ShownWhole, how_many

__all__ = ["Chosen", "Design", "Designs", "search_space"]


@dataclass(frozen=True, slots=True)
class Chosen(Plain):
    """One layer of a design."""

    kernel: int
    stride: int
    rate: int
    channels: int


@dataclass(frozen=True)
class Design(ShownWhole):
    """One schedule: its layers, and why no other of the space beats it.

    `evenness` is the spread of the paths from one output beside that of equally many paths to each
    position it reads, in whole hundredths rounded down: 1 where every position has as many paths as
    any other, None where holes were allowed. `price` is what was made little of. `look_ahead` is
    the limit on what lies behind an output's hop, None where layers are padded `same`.
    """

    layers: tuple[Chosen, ...]
    input: tuple[int, ...]
    minimised: Price
    price: int
    evenness: float | None
    why: str
    look_ahead: int | None = None
    layer: LayerKind = "conv"
    latency_ns: int | None = None
    state_bytes: int | None = None
    scale: Scale | None = None

    @property
    def stack(self) -> str:
        """The layers in the stack notation, which `inspect` and `compare` take.

        >>> layers = (Chosen(3, 2, 1, 32), Chosen(3, 1, 2, 32))
        >>> Design(layers, (1, 3, 65, 65), "macs", 0, 1.0, "").stack
        'k3s2x32 k3d2x32'
        """
        words = []
        for layer, pads in zip(self.layers, self.paddings, strict=True):
            word = f"k{layer.kernel}" + (f"s{layer.stride}" if layer.stride > 1 else "")
            word += f"d{layer.rate}" if layer.rate > 1 else ""
            past = causal(layer.kernel, layer.stride, layer.rate)
            if pads == past and self.look_ahead == 0:
                word += "causal"
            elif pads != same_torch(layer.kernel, layer.rate):
                word += "causal" if pads == past else f"p({pads[0]},{pads[1]})"
            made = f"x{layer.channels}"
            words += [f"dw{word}", f"k1{made}"] if self.layer == "separable" else [word + made]
        return " ".join(words)

    @property
    def paddings(self) -> tuple[tuple[int, int], ...]:
        """What each layer pads in front and behind, alike along all axes: `extent - 1` in all.

        Without a limit on what lies ahead that is half of it on both sides, the odd one behind.
        With one, layers are centred from the last one on as far as it allows, the others causal.

        >>> layers = (Chosen(3, 1, 4, 8), Chosen(3, 1, 1, 8))
        >>> Design(layers, (1, 8, 64), "macs", 0, 1.0, "", look_ahead=3).stack
        'k3d4p(6,2)x8 k3x8'
        """
        if self.look_ahead is None:
            return tuple(same_torch(layer.kernel, layer.rate) for layer in self.layers)
        windows = [Window(layer.kernel, layer.stride, layer.rate) for layer in self.layers]
        return ahead_within(windows, self.look_ahead)

    @property
    def ahead(self) -> int:
        """How far an output reads behind its hop, the input positions that it stands for."""
        seen = self.report.outputs[0].field[0]
        return max(int(seen.start + seen.size - seen.stride), 0)

    @cached_property
    def report(self) -> Inspection:
        """What `inspect` says of it."""
        return inspect_network(stack_network(self.stack, self.input))

    @property
    def field(self) -> int:
        """The receptive field along each axis, in input positions."""
        return self.report.outputs[0].field[0].size

    @property
    def coverage(self) -> float:
        """The share of the field that is read, along each axis."""
        return float(self.report.outputs[0].field[0].coverage)

    @property
    def macs(self) -> int:
        """Products and sums on this input."""
        return self.report.macs

    @property
    def params(self) -> int:
        """Weights, without biases."""
        return self.report.params

    @property
    def memory_bytes(self) -> int:
        """What is held at the worst moment, in float32."""
        return self.report.peak_memory_bytes

    @property
    def rates(self) -> tuple[int, ...]:
        """The dilation of each layer."""
        return tuple(layer.rate for layer in self.layers)

    def code(self) -> str:
        """PyTorch that builds it, with a rectifier between layers; runs as it is.

        >>> layers = (Chosen(3, 2, 1, 32), Chosen(2, 1, 2, 32))
        >>> print(Design(layers, (1, 3, 65, 65), "macs", 0, 1.0, "").code())
        from torch import nn
        <BLANKLINE>
        model = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 2, dilation=2, padding=1),
        )
        """
        rank = len(self.input) - 2
        lines = []
        width = self.input[1]
        for layer, pads in zip(self.layers, self.paddings, strict=True):
            (both,), (rest,) = symmetric([pads])
            if any(rest):
                lines.append(f"nn.ConstantPad{rank}d({rest * rank}, 0.0)")
            alone = self.layer == "separable"
            words = [f"nn.Conv{rank}d({width}, {width if alone else layer.channels}"]
            words += [str(layer.kernel)]
            words += [f"stride={layer.stride}"] * (layer.stride > 1)
            words += [f"dilation={layer.rate}"] * (layer.rate > 1)
            words += [f"padding={both}"] * (both > 0)
            words += [f"groups={width}"] * (alone and width > 1)
            lines.append(", ".join(words) + ")")
            lines += [f"nn.Conv{rank}d({width}, {layer.channels}, 1)"] * alone
            lines.append("nn.ReLU(inplace=True)")
            width = layer.channels
        body = "\n".join(f"    {line}," for line in lines[:-1])
        return f"from torch import nn\n\nmodel = nn.Sequential(\n{body}\n)"

    def recomputed(self, tile: int) -> float:
        """Positions that a tile of so many input positions an axis runs beside those it keeps."""
        seen = self.report.outputs[0].field[0]
        rank, stride = len(self.input) - 2, int(seen.stride)
        return recomputed_share(tile, seen.size, rank, stride, -seen.start)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the stack and the numbers of its report."""
        out: dict[str, Any] = {"schema": "atrous.design/1", "stack": self.stack}
        out["layers"] = [layer.to_dict() for layer in self.layers]
        out |= {"input": list(self.input), "field": self.field, "coverage": self.coverage}
        out |= {"evenness": self.evenness, "macs": self.macs, "params": self.params}
        out |= {"memory_bytes": self.memory_bytes, "why": self.why}
        out |= {"state_bytes": self.state_bytes, "latency_ns": self.latency_ns}
        out |= {"ahead": self.ahead, "paddings": [list(pads) for pads in self.paddings]}
        return out


class Designs(list[Design], ShownWhole):
    """The designs that no schedule of the space beats, the cheapest first.

    `space` is what was searched, `covered` how many schedules that is.
    """

    def __init__(self, designs: Sequence[Design], space: Space) -> None:
        super().__init__(designs)
        self.space = space

    @property
    def covered(self) -> int:
        """How many schedules there are in the space."""
        return self.space.count

    def plot(self) -> Any:
        """The front as an `altair.Chart`: price against evenness, with the field."""
        from atrous.shown import view

        return view(self).plot()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        space = {**self.space.to_dict(), "rates": list(self.space.rates), "count": self.covered}
        return {
            "schema": "atrous.designs/1",
            "space": space,
            "designs": [design.to_dict() for design in self],
        }


def search_space(
    space: Space,
    *,
    latency: Latency | None = None,
    look_ahead: int | None = None,
    scale: Scale | None = None,
) -> Designs:
    """Every design that no schedule of the space beats in price, field and evenness.

    A schedule beats another that it is at least as good as in all three and better in one; a field
    above `space.enough` is no merit. Of several alike one is returned. Raises `UnreachableError`
    where the space holds none, which says the limit and the nearest field.

    >>> found = search_space(Space(9, 18, 9, (64, 64), kernels=(3,), rates=(1, 2, 3), depth=(1, 4)))
    >>> [(design.rates, design.field, design.evenness) for design in found]
    [((3, 1), 9, 1.0)]
    """
    pricing = Pricing.of(space, latency)
    front = _front(space, pricing)
    if not front:
        raise UnreachableError(_why_not(space, pricing))
    shapes = (1, space.channels_in, *space.sizes)
    every = list(skeletons(space))
    found = []
    for place, (price, chain) in enumerate(front):
        layers = _layers_of(every[chain.skeleton], chain.steps)
        found.append(
            Design(
                tuple(Chosen(one.kernel, one.stride, one.rate, one.channels) for one in layers),
                shapes,
                space.minimise,
                price,
                None if space.holes else chain.percent / 100,
                _why(place, front, space),
                look_ahead,
                space.layer,
                sum(pricing.price("latency", one) for one in layers) if latency else None,
                sum(pricing.price("state", one) for one in layers)
                if len(space.sizes) == 1
                else None,
                scale,
            )
        )
    return Designs(found, space)


_Priced = tuple[int, Found]
Limits = Mapping[Price, int]


def _front(space: Space, pricing: Pricing) -> list[_Priced]:
    """The chains that none beats, with the price that was made least; the cheapest first."""
    if space.minimise != "memory":
        front = _searched(space, pricing, space.minimise, space.limits)
        return [(chain.prices[0], chain) for chain in front]
    # Memory is that of the worst layer, one of few numbers: each in turn is the limit.
    bounds = sorted(_memories(space, pricing))
    most = space.limits.get("memory")
    found: list[_Priced] = []
    for bound in bounds:
        if most is not None and bound > most:
            break
        within = _searched(space, pricing, "macs", {**space.limits, "memory": bound})
        found += [(bound, chain) for chain in within]
    kept: list[_Priced] = []
    rank = sorted(
        found,
        key=lambda pair: (
            *(pair[0], -min(pair[1].field, space.enough), -pair[1].percent),
            pair[1].prices,
        ),
    )
    for price, chain in rank:
        beaten = any(
            before <= price
            and min(one.field, space.enough) >= min(chain.field, space.enough)
            and one.percent >= chain.percent
            for before, one in kept
        )
        if not beaten:
            kept.append((price, chain))
    return kept


def _memories(space: Space, pricing: Pricing) -> set[int]:
    return {
        pricing.price("memory", replace(group.layer, kernel=kernel))
        for skeleton in skeletons(space)
        for group in skeleton.groups
        for kernel in space.kernels[:1]
    }


def _searched(space: Space, pricing: Pricing, first: Price, limits: Limits) -> list[Found]:
    front = Unbeaten(space.enough)
    # What is found where chains are cheapest keeps most of the dearer ones from being looked at.
    for ladder in sorted(_ladders(space, pricing, first, limits), key=Ladder.cheapest):
        ladder.search(
            front, lambda at: step(f"{power_of_ten(space.count)} schedules, steps of {at}")
        )
    return front.found


def _ladders(space: Space, pricing: Pricing, first: Price, limits: Limits) -> Iterator[Ladder]:
    bounded: list[Price] = [kind for kind in limits if kind != "memory"]
    memory = limits.get("memory")
    low, high = space.depth
    # Each layer sees further, so that no chain within the field has more.
    deepest = min(high, (space.most - 1) // _least_reach(space))
    if deepest < low:
        return

    def prices(group: Group, kernel: int, rate: int) -> tuple[int, ...] | None:
        layer = replace(group.layer, kernel=kernel, rate=rate)
        if memory is not None and pricing.price("memory", layer) > memory:
            return None
        return tuple(pricing.price(kind, layer) for kind in (first, *bounded))

    for number, skeleton in enumerate(skeletons(space)):
        yield Ladder(
            skeleton,
            number,
            space.kernels,
            (space.least, space.most),
            (low, deepest),
            prices,
            [limits[kind] for kind in bounded],
            holes=space.holes,
        )


def _least_reach(space: Space) -> int:
    """By how many positions any layer widens the field at least."""
    return (min(space.kernels) - 1) * min(space.rates)


def _layers_of(skeleton: Skeleton, steps: Sequence[Rung]) -> list[ChainLayer]:
    """The layers in their order: rates rise within a stage, and fall in the last one.

    So each layer of the last stage reads, of the map before it, positions without a hole.
    """
    made = []
    for number, group in enumerate(skeleton.groups):
        mine = [one for one in steps if one.group == number]
        mine.sort(key=lambda one: (one.rate, one.kernel), reverse=group.ends)
        made += [replace(group.layer, kernel=one.kernel, rate=one.rate) for one in mine]
    return made


def _why(place: int, front: Sequence[_Priced], space: Space) -> str:
    """What a design has that those beside it have not."""
    price, chain = front[place]
    words = []
    if price == min(other for other, _ in front):
        words.append(f"least {_PRICE_WORDS[space.minimise]}")
    if not space.holes and chain.percent == max(one.percent for _, one in front):
        words.append("most even")
    fields = [min(one.field, space.enough) for _, one in front]
    if space.enough > space.least and fields[place] == max(fields):
        words.append("largest field")
    if words:
        return ", ".join(words)
    even = "" if space.holes else f" at {chain.percent}%"
    return (
        f"widest{even} for its price" if space.enough > space.least else "most even for its price"
    )


_PRICE_WORDS: dict[Price, str] = {
    "macs": "MACs",
    "params": "parameters",
    "memory": "memory",
    "latency": "time",
    "state": "state",
}


def _amount_of(kind: Price, amount: int) -> str:
    """An amount of a price, times in ms."""
    if kind == "latency":
        return f"{amount / 1e6:,.3g} ms"
    return f"{amount:,} bytes" if kind in ("memory", "state") else f"{amount:,}"


def _why_not(space: Space, pricing: Pricing) -> str:
    """Which limit keeps the target out of reach, and the nearest field that is within."""
    target = f"a field of {space.least:,}" + ("" if space.holes else " without holes")
    low, high = space.depth
    fewest = 1 + low * _least_reach(space)
    if fewest > space.most:
        kernels, most = f"kernel {min(space.kernels)}", f"{space.most:,}, the most that is wanted"
        return (
            f"{how_many(low, 'layer')} of {kernels} and rate {min(space.rates)} "
            f"{'sees' if low == 1 else 'see'} at least {fewest:,} positions, more than {most}; "
            "give a larger field, fewer layers or smaller kernels."
        )
    if not _feasible(space, pricing, {}):
        largest = _largest_field(space, pricing, {})
        layers = f"{low} to {high} layers" if low < high else how_many(high, "layer")
        rates = f"rates up to {max(space.rates)}"
        fix = f"; the largest is {largest:,}" if largest else "; nothing is, at any size"
        if not largest and not space.subgrids and 1 not in space.rates:
            fix += ", since with no rate of 1 the last layer leaves sub-grids"
        return (
            f"{target} is out of reach of {layers} of kernels "
            f"{', '.join(map(str, space.kernels))} with {rates} at output stride "
            f"{space.output_stride}{fix}."
        )
    for kind, bound in space.limits.items():
        if not _feasible(space, pricing, {kind: bound}):
            largest = _largest_field(space, pricing, {kind: bound})
            least = _least_limit(space, pricing, kind)
            nearest = (
                f"the largest field within it is {largest:,}" if largest else "nothing is within it"
            )
            return (
                f"{target} needs {_PRICE_WORDS[kind]} of at least {_amount_of(kind, least)}, and "
                f"the limit is {_amount_of(kind, bound)}; {nearest}."
            )
    within = " and ".join(_PRICE_WORDS[kind] for kind in space.limits)
    if not within:
        return f"no field between {space.least:,} and {space.most:,} is reached; widen the range."
    return (
        f"{target} is within each limit by itself, and not within {within} together; raise one, or "
        "give a smaller field."
    )


def _feasible(space: Space, pricing: Pricing, limits: Limits) -> bool:
    """Whether a chain reaches the least field within one limit."""
    return any(ladder.reaches() for ladder in _ladders(space, pricing, "macs", limits))


def _largest_field(space: Space, pricing: Pricing, limits: Limits) -> int:
    """The largest field below the one wanted that is reached within one limit; 0 for none."""
    most = max(space.least - 1, 1)
    below = replace(space, least=1, most=most, enough=1)
    return max((one.largest() for one in _ladders(below, pricing, "macs", limits)), default=0)


def _least_limit(space: Space, pricing: Pricing, kind: Price) -> int:
    """The least of a price with which the target is reached."""
    if kind == "memory":
        bounds = sorted(_memories(space, pricing))
        return next(b for b in bounds if _feasible(space, pricing, {"memory": b}))
    return min(ladder.cheapest() for ladder in _ladders(space, pricing, kind, {}))
