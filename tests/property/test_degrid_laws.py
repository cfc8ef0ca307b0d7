"""`degrid` against all rates that there are, on stacks and on graphs of two branches.

The oracle knows sets of integers and nothing else: what an output reads is followed back layer by
layer, whoever joins sub-grids is looked at input by input, and every set of rates is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd

import pytest
from hypothesis import given
from hypothesis import strategies as st

import atrous
from atrous import ConversionError
from atrous.conversion.rate_graph import RateGraph, changeable
from atrous.network.stack import stack_network
from tests.oracles import drawing

LARGEST = 4


@dataclass(frozen=True)
class Drawn:
    """Layers before two branches, in each of them (none where there are no branches), and after."""

    before: tuple[tuple[int, int, int], ...]
    branches: tuple[tuple[tuple[int, int, int], ...], ...]
    after: tuple[tuple[int, int, int], ...]

    @property
    def layers(self) -> list[tuple[int, int, int]]:
        return [*self.before, *(one for branch in self.branches for one in branch), *self.after]

    def text(self) -> str:
        def run(layers: Sequence[tuple[int, int, int]]) -> str:
            return " ".join(f"k{k}s{s}d{d}" for k, s, d in layers)

        joined = f"[ {' + '.join(map(run, self.branches))} ]" if self.branches else ""
        return f"{run(self.before)} {joined} {run(self.after)}"


layer = st.tuples(st.sampled_from([2, 3, 3, 3, 5]), st.just(1), st.integers(1, 3))
strided = st.tuples(st.sampled_from([3, 4, 5]), st.just(2), st.integers(1, 2))
chains = st.builds(
    lambda head, rest: Drawn(tuple(head + rest), (), ()),
    st.lists(strided, max_size=1),
    st.lists(layer, min_size=2, max_size=3),
)
graphs = st.builds(
    Drawn,
    st.lists(layer, max_size=1).map(tuple),
    st.tuples(
        st.lists(layer, max_size=1).map(tuple), st.lists(layer, min_size=1, max_size=2).map(tuple)
    ),
    st.lists(layer, max_size=1).map(tuple),
)


@dataclass(frozen=True)
class Seen:
    size: int
    unread: int
    apart: int


def seen(drawn: Drawn, rates: Sequence[int]) -> Seen:
    """What output 0 reads along one axis, and on how many layers' inputs neighbours share none."""
    names = iter(rates)

    def rated(layers: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        return [(k, s, next(names)) for k, s, _ in layers]

    before = rated(drawn.before)
    branches = [rated(branch) for branch in drawn.branches]
    after = rated(drawn.after)

    def back(here: set[int], layers: Sequence[tuple[int, int, int]]) -> Iterator[set[int]]:
        for k, s, d in reversed(layers):
            low = d * (k - 1) // 2  # of `same`, the odd one goes behind
            here = {o * s - low + d * tap for o in here for tap in range(k)}
            yield here

    def judged(here: set[int], apart: int, rate: int) -> bool:
        step = gcd(*(one - min(here) for one in here))
        return rate > 1 and step > 1 and apart % step > 0

    here, apart = {0}, 1
    reads: list[tuple[set[int], int, int]] = []
    for (_, s, d), found in zip(reversed(after), back(here, after), strict=True):
        here, apart = found, apart * s
        reads.append((here, apart, d))
    if branches:
        ends: list[set[int]] = []
        starts: list[tuple[int, int]] = []
        for branch in branches:
            end = here
            found = list(back(here, branch))
            for (_, _, d), one in list(zip(reversed(branch), found, strict=True))[:-1]:
                reads.append((one, apart, d))
            starts += [(apart, branch[0][2])] if branch else []
            ends.append(found[-1] if found else end)
        here = set().union(*ends)
        # The first layers of all branches read one map, which is seen through all of them.
        reads += [(here, apart, d) for apart, d in starts]
    for (_, s, d), found in zip(reversed(before), back(here, before), strict=True):
        here, apart = found, apart * s
        reads.append((here, apart, d))
    return Seen(
        max(here) - min(here) + 1,
        max(here) - min(here) + 1 - len(here),
        sum(judged(*one) for one in reads),
    )


def assert_nothing_better(drawn: Drawn, *, strict: bool) -> None:
    """Of all sets of rates none has fewer changes, or where none keeps the field a larger field."""
    now = [d for _, _, d in drawn.layers]
    most = 0 if strict else 1
    whole: list[tuple[int, int]] = []
    target = seen(drawn, now).size
    for rates in product(range(1, LARGEST + 1), repeat=len(now)):
        one = seen(drawn, rates)
        if not one.unread and one.apart <= most:
            short = max(target - one.size, 0)
            whole.append((short, sum(a != b for a, b in zip(now, rates, strict=True))))
    shape = (1, 2, 40, 40)
    text = drawn.text()
    if not whole:
        with pytest.raises(ConversionError, match="closes all holes"):
            atrous.degrid(f"stack:{text}", shape, strict=strict, largest=LARGEST)
        return
    done = atrous.degrid(f"stack:{text}", shape, strict=strict, largest=LARGEST)
    assert done.fewest
    field = done.after.outputs[0].field[0]
    changed = [node.op.windows[0].dilation for node in done.after.network.nodes
               if node.kind == "conv"]  # fmt: skip
    found = seen(drawn, changed)
    assert (found.size, found.unread) == (field.size, 0)
    assert found.apart <= most
    assert (max(target - found.size, 0), done.changes) == min(whole)
    assert done.kept is (min(whole)[0] == 0)
    before, after = done.before, done.after
    assert (after.macs, after.params) == (before.macs, before.params)
    assert [one.output_shape for one in after.layers] == [one.output_shape for one in before.layers]


@drawing(120)
@given(chains, st.booleans())
def test_no_set_of_rates_mends_a_stack_with_fewer_changes(drawn: Drawn, strict: bool) -> None:
    assert_nothing_better(drawn, strict=strict)


@drawing(120)
@given(graphs, st.booleans())
def test_no_set_of_rates_mends_two_branches_with_fewer_changes(drawn: Drawn, strict: bool) -> None:
    assert_nothing_better(drawn, strict=strict)


@drawing(60)
@given(st.one_of(chains, graphs), st.data())
def test_the_graph_of_rates_reads_what_an_inspection_of_the_changed_network_says(
    drawn: Drawn, data: st.DataObject
) -> None:
    network = stack_network(drawn.text(), (1, 2, 60, 60))
    nodes, fixed = changeable(network, network.outputs)
    graph = RateGraph(network, "x", network.outputs, nodes)
    rates = tuple(data.draw(st.integers(1, 5)) for _ in nodes)
    layers = iter(rates)

    def rated(part: Sequence[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
        return tuple((k, s, next(layers)) for k, s, _ in part)

    other = Drawn(rated(drawn.before), tuple(map(rated, drawn.branches)), rated(drawn.after))
    field = atrous.inspect(f"stack:{other.text()}", (1, 2, 60, 60)).outputs[0].field[0]
    grid = graph.grids(rates)[0]
    assert not fixed
    assert (grid.size, grid.taps, grid.max_gap) == (field.size, field.taps, field.max_gap)
    assert graph.reach(rates) == (field.size,)
    assert len(grid.subgrids) == seen(other, rates).apart


def test_the_oracle_of_this_file_tells_holes_and_grids() -> None:
    stack = Drawn(((3, 1, 2), (3, 1, 2)), (), ())
    assert seen(stack, (2, 2)) == Seen(9, 4, 2)
    assert seen(stack, (2, 1)) == Seen(7, 0, 0)
    assert seen(stack, (1, 2)) == Seen(7, 0, 1)
