"""Small ONNX models, and the oracle for who reads what: ONNX Runtime with one position changed.

Independent of our algebra. A position counts as read where a NaN there makes the output NaN, or
where a huge number there changes it (maxima and rectifiers swallow NaN in ONNX Runtime). Where
weights of 0 count, only finite changes tell: NaN times zero is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from atrous import Inspection, Network
from atrous.analysis import inspect_network
from atrous.network.layout import grid_of
from atrous.readers.onnx.reader import read_onnx

Shape = Sequence[int]
ROUNDING = 1e-5
STEPS = (-50.0, 0.1, 2.0, 60.0)
"""What a position is set to: below and above all others, and between, where rounding keeps it."""


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Positive numbers, so that no two paths cancel."""
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    """A list of int64, as shapes and axes are given."""
    return np.asarray(values, np.int64)


def model(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Sequence[int | str]],
    constants: dict[str, np.ndarray],
    *,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model of these nodes; outputs have no declared shape."""
    graph = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))


def one(
    op: str, shape: Shape, *constants: np.ndarray | None, opset: int = 17, **attributes: Any
) -> onnx.ModelProto:
    """A model of one node that reads `x`, then the constants (None leaves an input out)."""
    names = ["" if c is None else f"c{i}" for i, c in enumerate(constants)]
    held = {n: c for n, c in zip(names, constants, strict=True) if c is not None}
    domain = attributes.pop("domain", "")
    node = helper.make_node(op, ["x", *names], ["y"], name="node", domain=domain, **attributes)
    return model([node], {"x": shape}, held, opset=opset, domains=[domain] if domain else [])


def session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime, running the nodes as they are written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def assert_reads_agree(
    proto: onnx.ModelProto,
    input: Any = None,
    *,
    complete: bool = True,
    seed: int = 0,
    finite: bool = False,
) -> Network:
    """The reader's shapes and footprints are those that ONNX Runtime shows, at every position.

    With `finite`, weights of 0 count as not read, and inputs are changed by finite steps.
    """
    network = read_onnx(proto, input, weights=finite)
    runner = session(proto)
    x = network.inputs[0]
    feed = {
        t.name: np.random.default_rng(seed + i).uniform(0.5, 1.5, t.shape).astype(np.float32)
        for i, t in enumerate(network.inputs)
    }
    base = runner.run(None, feed)
    for value, name in zip(base, network.outputs, strict=True):
        assert tuple(np.shape(value)) == network.tensor(name).shape
    report = inspect_network(network)
    if not complete:
        assert not report.complete
        return network
    assert report.complete, [(n.name, n.opaque) for n in network.nodes if n.opaque]
    values = STEPS if finite else (np.nan, 1e6)
    read = _positions_read(runner, feed, x.name, network, base, values)
    for index, name in enumerate(network.outputs):
        _assert_masks(report, name, read, index, network, seed)
    return network


def _positions_read(
    runner: onnxruntime.InferenceSession,
    feed: dict[str, np.ndarray],
    name: str,
    network: Network,
    base: Sequence[np.ndarray],
    values: Sequence[float],
) -> dict[tuple[int, ...], list[np.ndarray]]:
    tensor = network.tensor(name)
    spatial = [i for i, dim in enumerate(tensor.layout) if any(a.axis for a in dim)]
    found = {}
    for position in product(*(range(tensor.shape[i]) for i in spatial)):
        where: list[Any] = [slice(None)] * len(tensor.shape)
        for dim, p in zip(spatial, position, strict=True):
            where[dim] = p
        changed = [np.zeros(np.shape(value), bool) for value in base]
        for value in values:
            x = feed[name].copy()
            x[tuple(where)] = value
            for i, made in enumerate(runner.run(None, {**feed, name: x})):
                if value != value:
                    changed[i] |= np.isnan(made)
                else:
                    # What float32 leaves of a weight of 0 is no more than this.
                    differs = np.abs(np.subtract(made, base[i], dtype=np.float64))
                    changed[i] |= differs > ROUNDING * abs(value)
        found[position] = [
            on_grid(c, network.tensor(o).layout)
            for c, o in zip(changed, network.outputs, strict=True)
        ]
    return found


def on_grid(changed: np.ndarray, layout: Any) -> np.ndarray:
    """What changed, by position on the tensor's grid, over all channels."""
    atoms = [atom for dim in layout for atom in dim]
    array = changed.reshape([atom.size for atom in atoms])
    order: list[int] = []
    for axis in grid_of(layout):
        digits = [i for i, atom in enumerate(atoms) if atom.axis == axis]
        order += sorted(digits, key=lambda i: -atoms[i].weight)
    rest = tuple(i for i, atom in enumerate(atoms) if atom.axis is None)
    array = array.transpose(*order, *rest)
    array = array.any(axis=tuple(range(len(order), array.ndim)))
    return array.reshape(tuple(grid_of(layout).values()))


def _assert_masks(
    report: Inspection,
    name: str,
    read: dict[tuple[int, ...], list[np.ndarray]],
    index: int,
    network: Network,
    seed: int,
) -> None:
    sizes = tuple(network.tensor(name).grid.values())
    places = list(product(*(range(n) for n in sizes)))
    rng = np.random.default_rng(seed)
    if len(places) > 24:
        chosen = {0, len(places) - 1, *rng.choice(len(places), 22, replace=False).tolist()}
        places = [places[i] for i in sorted(chosen)]
    for at in places:
        mask = report.footprint(name, at).mask
        for position, changed in read.items():
            actual, expected = bool(changed[index][at]), bool(mask[position])
            assert actual == expected, (
                f"{name} at {at}: ONNX Runtime {'reads' if actual else 'does not read'} "
                f"{position}, the footprint says otherwise"
            )
