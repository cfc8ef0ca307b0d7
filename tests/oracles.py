"""Oracles that share no code with the algebra: enumerated indices, and real operations.

What an operation reads is seen by NaN, or where weights of 0 count by finite changes in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from math import prod
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings

from atrous.network.layout import Layout
from atrous.network.records import Network, Node, Tensor

Matrix = Any
"""A boolean array of one row for each output position and one column for each input position."""


def drawing(examples: int) -> settings:
    """So many examples in the fixed profile, in proportion in any other; no clock judges them."""
    scaled = max(1, examples * settings.default.max_examples // 100)
    return settings(max_examples=scaled, suppress_health_check=[HealthCheck.too_slow])


def coordinates(layout: Layout) -> dict[str, Any]:
    """For each axis, the coordinate along it of every element of a tensor of that layout."""
    shape = tuple(prod(atom.size for atom in dim) for dim in layout)
    found: dict[str, Any] = {}
    for index, dim in enumerate(layout):
        along = np.arange(shape[index])
        for atom in reversed(dim):
            digit = along % atom.size
            along = along // atom.size
            if atom.axis is not None:
                wide = (digit * atom.weight).reshape(
                    [-1 if d == index else 1 for d in range(len(shape))]
                )
                found[atom.axis] = found.get(atom.axis, 0) + np.broadcast_to(wide, shape)
    return found


def assert_complete_layout(tensor: Tensor) -> None:
    """The digits of each axis count every position of its grid exactly once."""
    digits: dict[str, list[tuple[int, int]]] = {}
    for dim in tensor.layout:
        for atom in dim:
            if atom.axis is None:
                assert atom.weight == 1, f"{tensor.name}: channels with a weight: {tensor.layout}"
            else:
                digits.setdefault(atom.axis, []).append((atom.weight, atom.size))
    assert set(digits) == set(tensor.grid)
    for axis, found in digits.items():
        expected = 1
        for weight, size in sorted(d for d in found if d[1] != 1):
            assert weight == expected, f"{tensor.name}: {axis} has a gap in {tensor.layout}"
            expected *= size
        assert expected == tensor.grid[axis], f"{tensor.name}: {axis} of {tensor.grid}"


def step_matrix(node: Node, index: int, source: Tensor) -> Matrix:
    """What each output position of one node reads of operand `index`: a product over axes."""
    target = node.output
    axes_in, axes_out = list(source.grid), list(target.grid)
    shape = [target.grid[a] for a in axes_out] + [source.grid[a] for a in axes_in]
    matrix = np.ones(shape, bool)
    for place, axis in enumerate(axes_in):
        length = source.grid[axis]
        outputs = target.grid.get(axis, 1)
        axis_map = node.moves[index].get(axis)
        if axis_map is None:
            assert length == outputs, (
                f"{node.name}: {axis} keeps its positions, {length} of them, but {outputs} come out"
            )
            table = np.eye(length, dtype=bool)
        else:
            assert (axis_map.inputs, axis_map.outputs) == (length, outputs), (
                f"{node.name}: the map of {axis} goes from {axis_map.inputs} to {axis_map.outputs} "
                f"positions, the tensors from {length} to {outputs}"
            )
            table = np.zeros((outputs, length), bool)
            for output in range(outputs):
                table[output, list(axis_map.at(output))] = True
        wide = [1] * len(shape)
        wide[len(axes_out) + place] = length
        if axis in axes_out:
            wide[axes_out.index(axis)] = outputs
        else:
            table = table[:1]
        matrix &= table.reshape(wide)
    return matrix.reshape(prod(target.grid.values()), prod(source.grid.values()))


def predicted(network: Network) -> Matrix:
    """What each position of the last output reads of the one input, node by node as sets."""
    (source,) = network.inputs
    known: dict[str, Matrix] = {source.name: np.eye(prod(source.grid.values()), dtype=bool)}
    for node in network.nodes:
        rows = np.zeros((prod(node.output.grid.values()), known[source.name].shape[1]), bool)
        for index, name in enumerate(node.inputs):
            if name in known:
                step = step_matrix(node, index, network.tensor(name))
                rows |= (step.astype(np.int32) @ known[name].astype(np.int32)) > 0
        known[node.output.name] = rows
    return known[network.outputs[-1]]


def observed(source: Tensor, target: Tensor, run: Callable[[Any], Any]) -> Matrix:
    """What each position of `target` reads of `source`: one NaN at a time put into what runs.

    A position is every element with its coordinates, whatever its channel; it is reached where
    any element at it turns NaN.
    """
    import torch

    return _seen(source, target, run, torch.float32, (float("nan"),))


def observed_by_change(source: Tensor, target: Tensor, run: Callable[[Any], Any]) -> Matrix:
    """The same by finite changes in float64: what is multiplied by 0 is not read.

    What rounding leaves of a weight of 0, a millionth of a millionth of the change, is not seen.
    """
    import torch

    return _seen(source, target, run, torch.float64, (0.75, -0.5, 8.0, -16.0))


def _seen(
    source: Tensor, target: Tensor, run: Callable[[Any], Any], dtype: Any, steps: Iterable[float]
) -> Matrix:
    import torch

    places_in = _positions(source)
    places_out = _positions(target).ravel()
    count_in, count_out = prod(source.grid.values()), prod(target.grid.values())
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(source.shape, generator=generator, dtype=dtype) + 0.5
    matrix = np.zeros((count_out, count_in), bool)
    with torch.no_grad():
        clean = run(base)
        assert tuple(clean.shape) == target.shape, (
            f"the operation makes {tuple(clean.shape)}, the rule says {target.shape}"
        )
        assert not clean.isnan().any(), "the operation makes NaN of its own"
        for position, step in product(range(count_in), steps):
            changed = base.clone()
            changed[torch.from_numpy(places_in == position)] += step
            made = run(changed)
            reached = made.isnan() | ((made - clean).abs() > abs(step) * 1e-12)
            matrix[places_out[reached.numpy().ravel()], position] = True
    return matrix


def _positions(tensor: Tensor) -> Any:
    places = np.zeros(tensor.shape, np.int64)
    along = coordinates(tensor.layout)
    for axis, length in tensor.grid.items():
        places = places * length + along[axis]
    return places


def assert_reads_as_run(
    network: Network,
    run: Callable[[Any], Any],
    observe: Callable[[Tensor, Tensor, Callable[[Any], Any]], Matrix] = observed,
) -> None:
    """Shapes, layouts and who reads what of `network` agree with `run`, at every position."""
    (source,) = network.inputs
    target = network.tensor(network.outputs[-1])
    for node in network.nodes:
        assert not node.opaque, f"{node.name} is opaque: {node.opaque}"
        assert_complete_layout(node.output)
    says, does = predicted(network), observe(source, target, run)
    wrong = np.argwhere(says != does)
    assert not len(wrong), _disagreement(wrong[0], says, source, target)


def _disagreement(place: Any, says: Matrix, source: Tensor, target: Tensor) -> str:
    output = np.unravel_index(place[0], tuple(target.grid.values()) or (1,))
    position = np.unravel_index(place[1], tuple(source.grid.values()) or (1,))
    claim = "reads" if says[tuple(place)] else "does not read"
    return (
        f"output {tuple(map(int, output))} of {target.grid} {claim} input "
        f"{tuple(map(int, position))} of {source.grid}, says the rule; the operation disagrees"
    )


def window_taps(kernel: int, stride: int, dilation: int, pad_lo: int, output: int) -> list[int]:
    """The positions that a window reads, by the sentence that defines it."""
    return [output * stride - pad_lo + dilation * j for j in range(kernel)]


def counted(positions: Iterable[int]) -> dict[int, int]:
    """How often each position occurs, in ascending order."""
    found: dict[int, int] = {}
    for position in positions:
        found[position] = found.get(position, 0) + 1
    return dict(sorted(found.items()))


def composed(outer: Mapping[int, int], inner: Callable[[int], Mapping[int, int]]) -> dict[int, int]:
    """Every path through two steps, counted by walking each one."""
    return counted(
        position
        for middle, paths in outer.items()
        for position, more in inner(middle).items()
        for _ in product(range(paths), range(more))
    )
