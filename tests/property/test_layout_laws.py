"""Layouts against NumPy: the coordinates of every element, carried through the same reshapes."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from atrous.network import Builder
from atrous.network.ops import Permute, Reshape
from tests.oracles import assert_complete_layout, coordinates, drawing


def split(data: st.DataObject, size: int) -> list[int]:
    """`size` as a product of factors, some of them 1."""
    factors = []
    while size > 1 and len(factors) < 3:
        factor = data.draw(st.sampled_from([f for f in range(1, size + 1) if size % f == 0]))
        factors.append(factor)
        size //= factor
    return [*factors, size]


@drawing(150)
@given(st.data())
def test_reshapes_and_permutes_move_coordinates_as_they_move_elements(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(1, 4, 12), (1, 4, 6, 8), (2, 3, 8, 6), (1, 2, 4, 6, 3)]))
    builder = Builder()
    x = builder.input("x", shape)
    # Where each element came from, moved by NumPy itself.
    origins = {axis: np.asarray(along) for axis, along in coordinates(x.layout).items()}
    sources = {axis: {(p,): [p] for p in range(n)} for axis, n in x.grid.items()}
    for _ in range(data.draw(st.integers(1, 3))):
        if data.draw(st.booleans()):
            order = tuple(data.draw(st.permutations(range(len(x.shape)))))
            y = builder.add(Permute(order), x)
            origins = {axis: along.transpose(order) for axis, along in origins.items()}
        else:
            target: list[int] = []
            for size in x.shape:
                factors = split(data, size)
                if target and data.draw(st.booleans()):
                    factors[0] *= target.pop()
                target += factors
            y = builder.add(Reshape(tuple(target)), x)
            origins = {axis: along.reshape(target) for axis, along in origins.items()}
        node = builder.build(y).nodes[-1]
        # Positions cut apart end the walk: the rule says that everything is read.
        assume(not node.mixes)
        for axis, axis_map in node.moves[0].items():
            known = sources[axis]
            sources[axis] = {
                (o,): [p for m in axis_map.at(o) for p in known[(m,)]]
                for o in range(axis_map.outputs)
            }
        x = y
    assert_complete_layout(x)
    assert prod(x.shape) == prod(shape)
    found = coordinates(x.layout)
    for axis, came_from in origins.items():
        here = found.get(axis, np.zeros(x.shape, np.int64))
        says = np.array([sources[axis][(o,)] for o in range(len(sources[axis]))])
        assert says.shape[1] == 1
        np.testing.assert_array_equal(says[here, 0], came_from, err_msg=f"{axis} in {x.layout}")
