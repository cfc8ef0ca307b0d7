"""Rates that leave no holes and no sub-grids, as a plan; or a layer put in, in front or behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from atrous.conversion.fewest import Fewest, fewest_changes
from atrous.conversion.inserted import Fits, Inserted, with_inserted
from atrous.conversion.plan import OpChange, Plan
from atrous.conversion.rate_graph import AxisGrid, RateGraph, changeable, last_maps
from atrous.errors import GeometryError
from atrous.geometry import Window, rises_by_kernels
from atrous.network import Network, Node, Tensor
from atrous.network.aside import coarsest
from atrous.network.ops import Conv, Pool
from atrous.network.walk import ancestors, needed, pruned, remade, window_axes
from atrous.refusal import Refusal
from atrous.shown import how_many, some

__all__ = ["DegridMethod", "Degridding", "grids_of", "plan_degridding"]

DegridMethod = Literal["rates", "front", "tail"]
"""Other rates in the layers that there are, a layer of rate 1 in front, or falling rates behind."""

_WIDEST = 31
"""Of a layer in front: with one as wide nobody would close holes."""


@dataclass(frozen=True, slots=True)
class Degridding:
    """A plan, the grids of the network's ends before and after it, and how it was found.

    `found` has the search where rates change, `inserted` the layers where some are put in. `fixed`
    are the layers whose rates cannot change, and why; `by_design` the axes along which rates rise
    from 1 by the kernel, whose sub-grids are left as they are.
    """

    plan: Plan
    method: DegridMethod
    before: tuple[AxisGrid, ...]
    after: tuple[AxisGrid, ...]
    found: Fewest | None = None
    inserted: Inserted | None = None
    fixed: tuple[Refusal, ...] = ()
    by_design: tuple[str, ...] = ()
    strict: bool = False


def plan_degridding(
    network: Network,
    names: Sequence[str] | None = None,
    *,
    method: DegridMethod = "rates",
    strict: bool = False,
    largest: int | None = None,
    at: str | None = None,
    fits: Fits = lambda network, name: True,  # noqa: ARG005 - anywhere
) -> Degridding | Refusal:
    """The plan after which each end reads its field without a hole, and neighbours share reads.

    See `atrous.degrid`.
    """
    wanted = needed(network, names)
    reference = pruned(network, wanted)
    ends = last_maps(reference, wanted)
    source = next((t.name for t in reference.inputs if t.grid), None)
    if not ends or source is None:
        return Refusal("map", "", "no map has spatial positions; there are no rates to choose.")
    held = ancestors(reference, ends)
    opaque = next((n for n in reference.nodes if n.opaque and n.output.name in held), None)
    if opaque is not None:
        return Refusal(
            "opaque",
            opaque.name,
            f"it is not understood ({opaque.opaque.rstrip('.')}), so that what is read through it "
            "is not known; degrid the part before it (outputs=...).",
        )
    able, fixed = changeable(reference, ends)
    design = () if strict else _rising_axes(reference, held)
    try:
        graph = RateGraph(reference, source, ends, able, strict=strict, exempt=design)
    except GeometryError as error:
        return Refusal("map", "", str(error))
    request = _Request(reference, source, ends, graph, fixed, design, strict)
    if method == "rates":
        return _by_rates(request, largest)
    look = graph.look(graph.now)
    if look.whole:
        return _kept_as_is(request, method)
    if method == "front" and not look.unread:
        return Refusal(
            "front",
            "",
            "there are no holes to fill, and a layer in front joins no sub-grids; change rates "
            "(method='rates'), or put layers behind (method='tail').",
        )
    return _by_insertion(request, method, at, fits)


def grids_of(network: Network, names: Sequence[str] | None = None) -> tuple[AxisGrid, ...]:
    """What the last maps before the outputs, or layers, of those names read at the rates there are.

    >>> from atrous.network.stack import stack_network
    >>> [one.coverage for one in grids_of(stack_network("k3 k3d2", (1, 1, 9)))]
    [1.0]
    """
    wanted = needed(network, names)
    reference = pruned(network, wanted)
    source = next((t.name for t in reference.inputs if t.grid), None)
    if source is None:
        return ()
    graph = RateGraph(reference, source, last_maps(reference, wanted), ())
    return graph.grids(graph.now)


@dataclass(frozen=True, slots=True)
class _Request:
    """A network to degrid, with its rates as unknowns."""

    reference: Network
    source: str
    ends: tuple[str, ...]
    graph: RateGraph
    fixed: tuple[Refusal, ...]
    design: tuple[str, ...]
    strict: bool

    def done(
        self,
        method: DegridMethod,
        plan: Plan,
        after: Sequence[AxisGrid],
        found: Fewest | None = None,
        inserted: Inserted | None = None,
    ) -> Degridding:
        """The record of a plan."""
        before = self.graph.grids(self.graph.now)
        return Degridding(
            plan, method, before, tuple(after), found, inserted, self.fixed, self.design,
            self.strict,
        )  # fmt: skip

    def planned(self, candidate: Network, changes: Sequence[OpChange] = ()) -> Plan:
        """The plan that makes the candidate: no map changes its size."""
        reference = self.reference
        tensors = [*reference.inputs, *(node.output for node in reference.nodes)]
        factors = {tensor.name: dict.fromkeys(tensor.grid, 1) for tensor in tensors}
        target = tuple(int(stride) for stride in coarsest(reference).values())
        direction: Literal["degrid", "none"] = "none" if candidate is reference else "degrid"
        return Plan(reference, candidate, tuple(changes), factors, direction, target)


def _kept_as_is(request: _Request, method: DegridMethod) -> Degridding:
    grids = request.graph.grids(request.graph.now)
    return request.done(method, request.planned(request.reference), grids)


def _by_rates(request: _Request, largest: int | None) -> Degridding | Refusal:
    graph = request.graph
    most = largest or max(2 * max(graph.now, default=1), 3)
    found = fewest_changes(graph, most)
    if not found.look.whole:
        return _beyond_rates(request, found)
    changes = []
    ops: dict[str, Conv] = {}
    for node, before, after in zip(graph.layers, graph.now, found.rates, strict=True):
        if before == after:
            continue
        assert isinstance(node.op, Conv)
        axes = window_axes(node, request.reference.tensor(node.inputs[0]))
        windows = tuple(
            w.at_rate(after) if axis is not None and w.kernel > 1 else w
            for w, axis in zip(node.op.windows, axes, strict=True)
        )
        ops[node.name] = replace(node.op, windows=windows)
        changes.append(OpChange(node.name, node.module, node.op, ops[node.name], axes))
    if not changes:
        return request.done("rates", request.planned(request.reference), graph.grids(graph.now),
                            found)  # fmt: skip
    candidate = _with_ops(request.reference, ops)
    return request.done("rates", request.planned(candidate, changes), graph.grids(found.rates),
                        found)  # fmt: skip


def _with_ops(network: Network, ops: Mapping[str, Conv]) -> Network:
    """The network with other ops in some nodes, whose outputs keep their shapes."""
    made = {t.name: t for t in network.inputs}
    nodes: list[Node] = []
    for node in network.nodes:
        if node.name in ops:
            inputs: tuple[Tensor, ...] = tuple(made[name] for name in node.inputs)
            after = remade(node, ops[node.name], inputs)
            assert after.output.shape == node.output.shape, f"{node.name}: its map changes"
            node = replace(after, output=node.output)
        made[node.output.name] = node.output
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


def _beyond_rates(request: _Request, found: Fewest) -> Refusal:
    """Why no rates do it, and how near they come."""
    graph = request.graph
    if not graph.layers:
        return Refusal("rates", "", f"no layer has a rate to change: {_fixed(request.fixed)}.")
    after = graph.grids(found.rates)
    worst = min(after, key=lambda one: one.coverage)
    space = f"rates up to {found.largest} in {how_many(len(graph.layers), 'layer')}"
    tried = (
        f"of {how_many(found.tried, 'set')} of {space}" if not found.exact else f"of all {space}"
    )
    changed = ", ".join(
        f"{node.name} at rate {rate}"
        for node, now, rate in zip(graph.layers, graph.now, found.rates, strict=True)
        if now != rate
    )
    nearest = f"the nearest ({changed or 'no change'}) reads {worst.taps} of {worst.size} positions"
    if worst.coverage == 1:
        named = next(one for one in after if one.subgrids)
        nearest = (
            f"the nearest ({changed or 'no change'}) reads all, and leaves neighbouring outputs on "
            f"disjoint sub-grids of what {some(named.subgrids)} read"
        )
    opener = _narrow(request)
    why = f"; {opener}, which no rate closes" if opener else ""
    return Refusal(
        "rates",
        "",
        f"none {tried} closes all holes and joins all sub-grids: {nearest}{why}. Layers that keep "
        f"their rates: {_fixed(request.fixed)}. Allow larger rates (largest=...), or put layers in "
        "(method=...).",
    )


def _narrow(request: _Request) -> str:
    """The first window narrower than its stride, which leaves holes of its own."""
    for node in request.reference.nodes:
        for window in getattr(node.op, "windows", ()) if isinstance(node.op, Conv | Pool) else ():
            if window.kernel < window.stride:
                return (
                    f"{node.name} reads with kernel {window.kernel} and stride {window.stride}, "
                    "and leaves holes"
                )
    return ""


def _fixed(fixed: Sequence[Refusal]) -> str:
    """Layers by the reason why they keep their rates."""
    by_reason: dict[str, list[str]] = {}
    for one in fixed:
        by_reason.setdefault(one.reason, []).append(one.layer)
    return "; ".join(f"{some(names)} ({why})" for why, names in by_reason.items()) or "none"


def _rising_axes(network: Network, held: Collection[str]) -> tuple[str, ...]:
    """The axis of a sequence model whose rates rise from 1 by the kernel: its sub-grids are meant.

    Holes are none of that design.
    """
    if len(network.axes) != 1:
        return ()
    windows: list[Window] = []
    for node in network.nodes:
        if isinstance(node.op, Conv | Pool) and node.output.name in held:
            windows += [w for w in node.op.windows if w.kernel > 1 and w.stride == 1]
    rising = rises_by_kernels((w.kernel, w.dilation) for w in windows)
    dilated = any(w.dilation > 1 for w in windows)
    return network.axes if rising and dilated else ()


def _by_insertion(
    request: _Request, method: DegridMethod, at: str | None, fits: Fits
) -> Degridding | Refusal:
    reference = request.reference
    largest = max(
        (w.dilation for n in reference.nodes if isinstance(n.op, Conv | Pool) for w in n.op.windows
         if w.kernel > 1),
        default=1,
    )  # fmt: skip
    kernels = range(3, _WIDEST + 1, 2) if method == "front" else range(3, 4)
    falling = [1] if method == "front" else _falling(largest)
    worst: AxisGrid | None = None
    for kernel in kernels:
        found = with_inserted(
            reference,
            request.source,
            request.ends,
            falling,
            kernel,
            front=method == "front",
            at=at,
            fits=fits,
        )
        if isinstance(found, Refusal):
            return found
        candidate, inserted = found
        ends = [inserted.renamed.get(end, end) for end in request.ends]
        able, _ = changeable(candidate, ends)
        graph = RateGraph(
            candidate, request.source, ends, able, strict=request.strict, exempt=request.design
        )
        look = graph.look(graph.now)
        after = graph.grids(graph.now)
        worst = min(after, key=lambda one: one.coverage)
        # A layer in front fills holes; what lies on sub-grids behind it stays there.
        if not look.unread and (method == "front" or not look.apart):
            return request.done(method, request.planned(candidate), after, inserted=inserted)
    assert worst is not None
    what = (
        f"a layer of rate 1 in front, of kernel up to {_WIDEST},"
        if method == "front"
        else f"a tail of rates {', '.join(map(str, falling))}"
    )
    end = "" if worst.coverage < 1 else ", with neighbouring outputs on disjoint sub-grids"
    return Refusal(
        method,
        "",
        f"{what} does not do it here: {worst.taps} of {worst.size} positions along {worst.axis} "
        f"are read{end}; change rates instead, or name the layer behind which to put it "
        "(at=...).",
    )


def _falling(largest: int) -> list[int]:
    """Rates that fall to 1 by halves, behind one of `largest`.

    >>> _falling(4), _falling(12), _falling(1)
    ([2, 1], [6, 3, 1], [1])
    """
    rates = []
    while largest > 1:
        largest //= 2
        rates.append(largest)
    return rates or [1]
