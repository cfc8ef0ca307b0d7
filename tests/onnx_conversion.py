"""What every conversion of an ONNX file is held to: valid, read back, run beside the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from atrous.conversion.dilating import plan_dilation
from atrous.conversion.plan import Plan
from atrous.conversion.striding import plan_striding
from atrous.network import Tensor
from atrous.readers.onnx.file import load
from atrous.readers.onnx.reader import follow_onnx, read_onnx
from atrous.readers.onnx.values import Live
from atrous.runners.onnx import OnnxRunner, random_inputs
from atrous.writers.onnx.model import Rewritten, rewritten

Source = str | Path | onnx.ModelProto


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    constants: Mapping[str, np.ndarray],
    *,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    ir: int = 8,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model of these nodes that states the shape of every value, and that has metadata."""
    said = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "made", said, made, held, doc_string="a graph")
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(domain, 1) for domain in {f.domain for f in functions}]
    proto = helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=ir,
        producer_name="a test",
        functions=list(functions),
    )
    helper.set_model_props(proto, {"author": "someone"})
    return onnx.shape_inference.infer_shapes(proto)


def planned(
    source: Source, target: int | Mapping[str, int], input: Any = None, outputs: Any = None
) -> Plan:
    """The dilation plan of a file, which there must be."""
    network = read_onnx(source, input)
    wanted = dict.fromkeys(network.axes, target) if isinstance(target, int) else target
    plan = plan_dilation(network, wanted, outputs or network.outputs)
    assert isinstance(plan, Plan), str(plan)
    assert plan.changes
    return plan


def written(source: Source, plan: Plan) -> Rewritten:
    """The converted file, valid for onnx's checker with shapes inferred in full."""
    made = rewritten(source, plan)
    assert isinstance(made, Rewritten), str(made)
    onnx.checker.check_model(made.model, full_check=True)
    return made


def strided(array: np.ndarray, dense: Tensor, factors: Mapping[str, int]) -> np.ndarray:
    """The positions of a dense map that the original has."""
    where = []
    for dim in dense.layout:
        axes = [atom.axis for atom in dim if atom.axis is not None]
        assert len(axes) == 0 or len(dim) == 1, "an output with flattened positions"
        where.append(slice(None, None, factors.get(axes[0], 1) if axes else 1))
    return array[tuple(where)]


def assert_same_values(
    source: Source,
    made: Rewritten,
    plan: Plan,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    folder: Path | None = None,
    seed: int = 0,
) -> None:
    """Every output of the original, borders included, is a subset of the dense one's positions."""
    shapes = shapes or {t.name: t.shape for t in plan.reference.inputs}
    inputs = random_inputs(source, shapes, seed)
    before = follow_onnx(load(source), shapes).values
    names = [item.name for item in made.model.graph.output]
    old = OnnxRunner(source, folder=folder).run(inputs, names)
    new = OnnxRunner(made.model, folder=folder).run(inputs, names)
    for name in names:
        value = before[name]
        assert isinstance(value, Live)
        factors = plan.factors[value.tensor.name]
        assert max(factors.values(), default=1) > 1, f"{name} has not changed"
        got = strided(new[name], plan.candidate.tensor(value.tensor.name), factors)
        assert got.shape == old[name].shape, (new[name].shape, old[name].shape, factors)
        scale = float(old[name].std()) or 1.0
        error = float(np.abs(got - old[name]).max()) / scale
        assert error < 3e-5, f"{name}: differs by {error:.2g} of its standard deviation"


def assert_same_ops(made: Rewritten, plan: Plan, input: Any = None) -> None:
    """The file reads as the network that the plan has."""
    network = read_onnx(made.model, input)
    assert [n.op for n in network.nodes] == [n.op for n in plan.candidate.nodes]
    assert [n.output.shape for n in network.nodes] == [n.output.shape for n in plan.candidate.nodes]


def assert_converts(
    source: Source,
    target: int | Mapping[str, int],
    input: Any = None,
    *,
    same_ops: bool = True,
    folder: Path | None = None,
) -> Rewritten:
    """The whole way: planned, written, checked, read back, run; and back where that goes."""
    plan = planned(source, target, input)
    made = written(source, plan)
    if same_ops:
        assert_same_ops(made, plan, input)
    assert_same_values(source, made, plan, folder=folder)
    return made


def windows(model: onnx.ModelProto) -> list[dict[str, Any]]:
    """What each convolution and pool of a file says about its windows, defaults filled in."""
    found = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "MaxPool", "AveragePool"):
            continue
        held = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        rank = len(held["kernel_shape"])
        said = {"name": node.name, "op": node.op_type, "ceil": held.get("ceil_mode", 0)}
        for name, default in (("strides", 1), ("dilations", 1), ("pads", 0)):
            count = 2 * rank if name == "pads" else rank
            said[name] = list(held.get(name, [default] * count))
        found.append(said)
    return found


def assert_goes_back(source: Source, made: Rewritten, target: int, input: Any = None) -> None:
    """Strides for dilation again: the windows of the original, and all else to the byte."""
    network = read_onnx(made.model, input)
    plan = plan_striding(network, dict.fromkeys(network.axes, target), network.outputs)
    assert isinstance(plan, Plan), str(plan)
    back = rewritten(made.model, plan)
    assert isinstance(back, Rewritten), str(back)
    original = load(source).model
    assert windows(back.model) == windows(original)
    assert back.model.graph.output == original.graph.output
    assert back.model.graph.value_info == original.graph.value_info
    held = {t.name: t for t in back.model.graph.initializer}
    for tensor in original.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            assert held[tensor.name] == tensor
