"""What is kept between sweeps, so that each goes on where the one before it ended."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass

from atrous.network import Network
from atrous.network.ops import Mix

__all__ = ["Leg", "legs_of"]

_ENDLESS = 1 << 62


@dataclass(frozen=True, slots=True)
class Leg:
    """What one sweep does: of the tensors `given`, from before it, it computes `made`.

    `counted` are the layers whose statistics it gathers, `known` those gathered before whose
    statistics it uses, `kept` the tensors that later sweeps are given.
    """

    sweep: int
    given: tuple[str, ...]
    made: tuple[str, ...]
    counted: tuple[str, ...]
    known: tuple[str, ...]
    kept: tuple[str, ...]


def legs_of(
    network: Network, sweeps: Mapping[str, int], storable: Callable[[str], bool]
) -> tuple[Leg, ...] | None:
    """All sweeps, the last one to the outputs; None where something needed cannot be kept.

    After each sweep the tensors are kept that have the fewest bytes in all of those through which
    everything later passes, a minimum cut, of what is there by then. What has multiply-accumulates
    is computed once; what has none, such as an activation or a sum, may be computed again.
    `storable` says of a tensor whether it can be kept.

    >>> from atrous.network import Builder
    >>> from atrous.network.ops import Reduce
    >>> b = Builder()
    >>> x = b.conv(b.input("x", (1, 1, 8, 8)), 4, 3, padding=1, name="first")
    >>> mean = b.add(Reduce((2, 3), True, "mean"), x, name="mean", origin="mean")
    >>> net = b.build(b.conv(b.join(x, mean), 1, 3, padding=1, name="last"))
    >>> for leg in legs_of(net, {"mean": 1}, lambda name: True):
    ...     print(leg.sweep, leg.given, leg.kept)
    1 ('x',) ('first',)
    2 ('first',) ()
    """
    last = max(sweeps.values(), default=0) + 1
    level = _known_after(network, sweeps)
    roots = {
        sweep: {network.node(name).inputs[0] for name, at in sweeps.items() if at == sweep}
        for sweep in range(1, last)
    }
    roots[last] = set(network.outputs)
    images = {tensor.name for tensor in network.inputs}
    held: set[str] = set(images)
    heavy = {node.output.name for node in network.nodes if node.macs and storable(node.output.name)}
    done: set[str] = set()
    legs: list[Leg] = []
    for sweep in range(1, last + 1):
        made, _ = _computed_from(network, roots[sweep], held, sweeps)
        done |= made & heavy
        cut: set[str] = set()
        if sweep < last:
            later = set().union(*(roots[one] for one in range(sweep + 1, last + 1)))
            costs = {
                name: 0 if name in images else 2 * network.tensor(name).nbytes - (name in held)
                for name, at in level.items()
                if at < sweep and (name in held or storable(name))
            }
            found = _least_cut(network, sweeps, held, done, later, costs)
            if found is None:
                return None
            cut = found
        new = cut - held
        made, given = _computed_from(network, roots[sweep] | new, held, sweeps)
        done |= made & heavy
        legs.append(
            Leg(
                sweep,
                _as_they_come(network, given),
                _as_they_come(network, made),
                tuple(name for name, at in sweeps.items() if at == sweep),
                tuple(name for name in sweeps if network.node(name).output.name in made),
                _as_they_come(network, new),
            )
        )
        held = cut
    return tuple(legs)


def _known_after(network: Network, sweeps: Mapping[str, int]) -> dict[str, int]:
    """The sweep after which each tensor can be made; 0 for what needs no statistics."""
    level = dict.fromkeys((tensor.name for tensor in network.inputs), 0)
    for node in network.nodes:
        before = max((level[name] for name in node.inputs), default=0)
        level[node.output.name] = sweeps.get(node.name, before)
    return level


def _computed_from(
    network: Network, wanted: Iterable[str], held: Set[str], sweeps: Mapping[str, int]
) -> tuple[set[str], set[str]]:
    """The tensors that are computed for those `wanted`, and those `held` of which they are made."""
    made: set[str] = set()
    given: set[str] = set()
    left = list(wanted)
    while left:
        name = left.pop()
        if name in made or name in given:
            continue
        node = network.maker(name)
        if name in held or node is None:
            given.add(name)
            continue
        made.add(name)
        left += _made_of_these(network, name, sweeps)
    return made, given


def _made_of_these(network: Network, name: str, sweeps: Mapping[str, int]) -> tuple[str, ...]:
    """Of what a tensor is made; a mean or a pool that is gathered needs its statistics alone."""
    node = network.maker(name)
    if node is None or (node.name in sweeps and not isinstance(node.op, Mix)):
        return ()
    return node.inputs


def _as_they_come(network: Network, names: Set[str]) -> tuple[str, ...]:
    order = [tensor.name for tensor in network.inputs] + [n.output.name for n in network.nodes]
    return tuple(name for name in order if name in names)


def _least_cut(
    network: Network,
    sweeps: Mapping[str, int],
    held: Set[str],
    done: Set[str],
    later: Set[str],
    costs: Mapping[str, int],
) -> set[str] | None:
    """The tensors of the least cost in all through which `later` is reached from what is `held`.

    By a largest flow (Ford and Fulkerson 1956, along shortest ways: Edmonds and Karp 1972) in which
    each tensor lets as much through as it costs. What is `done` is not to be computed again: it is
    a source as well.
    """
    made, given = _computed_from(network, later, held, sweeps)
    room: dict[tuple[str, str], dict[tuple[str, str], int]] = defaultdict(dict)

    def joined(one: tuple[str, str], other: tuple[str, str], much: int) -> None:
        room[one][other] = room[one].get(other, 0) + much
        room[other].setdefault(one, 0)

    source, sink = ("source", ""), ("sink", "")
    for name in made | given:
        joined(("in", name), ("out", name), costs.get(name, _ENDLESS))
        if name in given or name in done:
            joined(source, ("in", name), _ENDLESS)
        if name in later:
            joined(("out", name), sink, _ENDLESS)
    for name in made:
        for before in _made_of_these(network, name, sweeps):
            joined(("out", before), ("in", name), _ENDLESS)
    while True:
        reached = {source: source}
        ahead = deque([source])
        while ahead and sink not in reached:
            here = ahead.popleft()
            for there, much in room[here].items():
                if much > 0 and there not in reached:
                    reached[there] = here
                    ahead.append(there)
        if sink not in reached:
            break
        way = [sink]
        while way[-1] != source:
            way.append(reached[way[-1]])
        steps = list(zip(way[1:], way, strict=False))
        most = min(room[one][other] for one, other in steps)
        if most >= _ENDLESS:
            return None
        for one, other in steps:
            room[one][other] -= most
            room[other][one] += most
    return {
        name for name in made | given if ("in", name) in reached and ("out", name) not in reached
    }
