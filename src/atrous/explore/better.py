"""Schedules that see as far as a stack, without holes, for no more, and what they have over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from atrous.analysis import Inspection
from atrous.conversion.degridding import plan_degridding
from atrous.conversion.plan import OpChange
from atrous.errors import ArgumentError, ReadError, UnreachableError
from atrous.explore.draft import Draft
from atrous.network.ops import Conv
from atrous.network.stack import StackLayer
from atrous.refusal import Refusal
from atrous.shown import how_many

__all__ = ["Better", "Offer", "better_than"]

MOST_DEPTH = 16
MOST_FIELD = 2048
_LARGEST = 64
_OFFERS = 3
_HOLES = frozenset({"gridding", "subgrids"})


@dataclass(frozen=True, slots=True)
class Offer:
    """A schedule, and what it has that the stack has not."""

    what: str
    draft: Draft


@dataclass(frozen=True, slots=True)
class Better:
    """What was found, the nearest to the stack first, and how much was searched, in words."""

    offers: tuple[Offer, ...]
    said: str


def better_than(draft: Draft, report: Inspection | None = None) -> Better:
    """Up to three schedules with at least the field of a stack, no holes, and no more MACs.

    First, where the stack has holes or sub-grids, the one that changes the fewest rates, as
    `degrid` does. Then, of all chains of at most as many convolutions with its kernels, strides,
    output stride and channels by stage, and rates up to 64, those that none beats in MACs and in
    how evenly paths fall; only of plain chains.

    >>> found = better_than(Draft.of("k3d2 k3d2 k3d2", (1, 8, 64, 64)))
    >>> [(offer.draft.text, offer.what) for offer in found.offers][0]
    ('k3d2 k3d3 k3', '2 rates changed, no holes, no sub-grids')
    """
    before = draft.report() if report is None else report
    mended = _mended(draft, before)
    try:
        searched = _searched(draft, before)
    except (ReadError, ArgumentError) as error:
        searched = Better((), f"Other schedules are not searched: {error}")
    offers: dict[str, Offer] = {}
    for one in (*mended.offers, *searched.offers):
        offers.setdefault(one.draft.text, one)
    said = " ".join(filter(None, (mended.said, searched.said)))
    return Better(tuple(offers.values())[:_OFFERS], said)


def _mended(draft: Draft, before: Inspection) -> Better:
    """The stack with the fewest rates changed, where it has holes or sub-grids."""
    if not _HOLES & {finding.code for finding in before.findings}:
        return Better((), "This stack has no holes and no sub-grids.")
    done = plan_degridding(draft.network())
    if isinstance(done, Refusal):
        return Better((), f"No rates close its holes: {done.reason}")
    assert done.found is not None
    made = _with_changes(draft, done.plan.changes)
    gains = _gains(before, made.report(), 0)
    tried = f"{how_many(done.found.tried, 'set')} of its rates tried"
    if not done.found.kept:
        return Better((), f"{tried}: none sees as far without holes; the nearest is {made.text}.")
    what = ", ".join((f"{how_many(done.found.changes, 'rate')} changed", *gains))
    return Better((Offer(what, made),), f"{tried}.")


def _with_changes(draft: Draft, changes: Sequence[OpChange]) -> Draft:
    """The stack with the rates, and where they are numbers the paddings, of changed layers."""
    made = list(draft.layers)
    for change in changes:
        place = next(i for i, layer in enumerate(made) if layer.name == change.node)
        assert isinstance(change.after, Conv)
        window = next(w for w in change.after.windows if w.kernel > 1)
        layer = replace(made[place], dilation=change.after.dilation)
        if len(set(layer.dilation)) == 1:
            layer = replace(layer, dilation=(window.dilation,))
        if isinstance(layer.padding, tuple):
            layer = replace(layer, padding=window.padding)
        made[place] = layer
    return draft.replaced(made)


def _searched(draft: Draft, before: Inspection) -> Better:
    """Chains that none beats. Raises `ReadError` for a stack that is no plain chain."""
    if find_spec("numpy") is None:
        raise ReadError("that takes NumPy, which this page goes without; `atrous explore` has it.")
    from atrous.search import Space, search_space

    layers = draft.layers
    padding = _padding_of(layers)
    field = max((axis.size for axis in before.outputs[0].field), default=0)
    _check(layers, field)
    ahead = 0 if padding == "causal" else None
    stride = 1
    for layer in layers:
        stride *= layer.stride[0]
    rate = max(layer.dilation[0] for layer in layers)
    space = Space(
        least=field,
        most=field,
        enough=field,
        sizes=draft.shape[2:],
        channels_in=draft.shape[1],
        widths=_widths(draft),
        output_stride=stride,
        strides=tuple(sorted({layer.stride[0] for layer in layers} - {1})) or (2,),
        kernels=tuple(sorted({layer.kernel[0] for layer in layers})),
        rates=tuple(range(1, min(max(2 * rate, field // 2 + 1), _LARGEST) + 1)),
        depth=(1, len(layers)),
        limits={"macs": before.macs},
    )
    count = _count(space.count)
    searched = f"{count} schedules of the same kernels, strides and channels were searched"
    reached = False
    # The same field where there is one, else one up to twice as large.
    for most in (field, 2 * field):
        try:
            designs = search_space(replace(space, most=most), look_ahead=ahead)
        except UnreachableError:
            continue
        reached = True
        offers = []
        for design in designs:
            made = Draft.of(_as_typed(design.stack, draft), draft.shape)
            what = ", ".join(_gains(before, made.report(), len(layers) - len(made.layers)))
            if what and made.text != draft.text:
                offers.append(Offer(what, made))
        if offers:
            return Better(tuple(offers), f"{searched}.")
    if reached:
        return Better((), f"{searched}: none of them beats this one.")
    return Better((), f"{searched}: none sees as far without holes for no more.")


def _padding_of(layers: Sequence[StackLayer]) -> str:
    """The padding of all layers. Raises `ReadError` for a stack that is no plain chain."""
    paddings = {layer.padding for layer in layers}
    plain = all(
        layer.kind == "conv"
        and min(layer.kernel) > 1
        and all(len(set(v)) == 1 for v in (layer.kernel, layer.stride, layer.dilation))
        for layer in layers
    )
    if not plain or len(paddings) != 1 or not paddings <= {"same", "causal"}:
        raise ReadError(
            "only chains of convolutions of kernel 2 and more are, alike along all axes and all "
            "padded `same` or all `causal`."
        )
    (padding,) = paddings
    return str(padding)


def _check(layers: Sequence[StackLayer], field: int) -> None:
    if len(layers) > MOST_DEPTH or field > MOST_FIELD:
        raise ReadError(
            f"{how_many(len(layers), 'layer')} with a field of {field:,} are too many while you "
            f"wait ({MOST_DEPTH} layers, {MOST_FIELD:,} positions); use `atrous design`."
        )


def _widths(draft: Draft) -> tuple[int, ...]:
    """The channels of all layers, or of each stage: before the first stride, and behind each."""
    stages: list[set[int]] = [set()]
    channels = draft.shape[1]
    for layer in draft.layers:
        if layer.stride[0] > 1:
            stages.append(set())
        channels = channels if layer.channels is None else layer.channels
        stages[-1].add(channels)
    widths = set[int]().union(*stages)
    if len(widths) == 1:
        return tuple(widths)
    stages[0] = stages[0] or stages[1]
    if all(len(stage) == 1 for stage in stages):
        return tuple(next(iter(stage)) for stage in stages)
    raise ReadError(
        "only those with one number of channels for each stage between strides are, and here it "
        "changes within one."
    )


def _as_typed(stack: str, draft: Draft) -> str:
    """The stack without the channels that the input has, where the stack does not name them."""
    if all(layer.channels is None for layer in draft.layers):
        return stack.replace(f"x{draft.shape[1]}", "")
    return stack


def _gains(before: Inspection, after: Inspection, fewer: int) -> Iterator[str]:
    """What a schedule has that another has not."""
    old, new = before.outputs[0].field, after.outputs[0].field
    if any(axis.coverage < 1 for axis in old) and all(axis.coverage == 1 for axis in new):
        yield "no holes"
    codes = [{finding.code for finding in side.findings} for side in (before, after)]
    if "subgrids" in codes[0] - codes[1]:
        yield "no sub-grids"
    if new[0].size != old[0].size:
        yield f"sees {new[0].size:,} for {old[0].size:,}"
    if fewer:
        yield f"{how_many(fewer, 'layer')} fewer"
    if after.macs < before.macs:
        yield f"{1 - after.macs / before.macs:.0%} fewer MACs"
    if after.peak_memory_bytes < before.peak_memory_bytes:
        yield f"{1 - after.peak_memory_bytes / before.peak_memory_bytes:.0%} less memory"


def _count(number: int) -> str:
    """A count that may be astronomical.

    >>> _count(399), _count(1_529_127_390_314_496_000)
    ('399', '1.5e+18')
    """
    return f"{number:,}" if number < 10**9 else f"{number:.2g}"
