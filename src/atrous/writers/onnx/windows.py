"""Convolutions and pools of an ONNX file with other windows."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from atrous.geometry import Window
from atrous.network.ops import Conv, ConvTranspose, Pool
from atrous.writers.onnx.edit import Edit, Unwritable, set_ints, without
from atrous.writers.onnx.steps import Step, writes

if TYPE_CHECKING:
    import onnx

__all__: list[str] = []

# The operator set from which a pool has an attribute for its dilation.
_DILATED_SINCE = {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}


def _spell(node: onnx.NodeProto, windows: Sequence[Window], *, rates: bool = True) -> None:
    """Strides, dilations and pads in numbers: whatever the framework worked out itself is gone."""
    without(node, "auto_pad")
    set_ints(node, "strides", [w.stride for w in windows], 1)
    if rates:
        set_ints(node, "dilations", [w.dilation for w in windows], 1)
    set_ints(node, "pads", [*(w.pad_lo for w in windows), *(w.pad_hi for w in windows)], 0)


def pad_in_front(
    edit: Edit, node: onnx.NodeProto, windows: Sequence[Window], value: float
) -> list[Window]:
    """The windows without their padding, which a Pad in front of the node takes over."""
    import numpy as np
    from onnx import helper

    pads = [0, 0, *(w.pad_lo for w in windows), 0, 0, *(w.pad_hi for w in windows)]
    x = node.input[0]
    if edit.opset < 11:
        node.input[0] = edit.in_front(node, "Pad", [x], "padded", pads=pads, value=value)
        return [window.unpadded for window in windows]
    dtype = helper.tensor_dtype_to_np_dtype(edit.dtype(x))
    if np.issubdtype(dtype, np.integer):
        value = max(value, float(np.iinfo(dtype).min))
    sizes = edit.constant(np.asarray(pads, np.int64), f"{node.output[0]}_pads", node)
    filling = edit.constant(np.asarray(value, dtype), f"{node.output[0]}_filling", node)
    node.input[0] = edit.in_front(node, "Pad", [x, sizes, filling], "padded")
    return [window.unpadded for window in windows]


@writes("Conv", "ConvInteger", "QLinearConv", "FusedConv")
def _conv(edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:
    op = steps[0].after
    assert isinstance(op, Conv)
    windows: Sequence[Window] = op.windows
    if min(map(min, op.padding)) < 0:
        if node.op_type not in ("Conv", "FusedConv"):
            raise Unwritable(f"{node.op_type} takes no negative padding, and it needs some.")
        windows = pad_in_front(edit, node, windows, 0.0)
        edit.rephrased.add(node.output[0])
    _spell(node, windows)


@writes("ConvTranspose")
def _transposed(_edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:
    op = steps[0].after
    assert isinstance(op, ConvTranspose)
    if any(a.name == "output_shape" for a in node.attribute) and any(steps[0].open):
        raise Unwritable(
            "its output_shape is for one size, and the file leaves sizes open; give the file "
            "static shapes."
        )
    without(node, "output_shape")
    _spell(node, op.windows)


@writes("MaxPool", "LpPool")
def _pool(edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:
    op = steps[0].after
    assert isinstance(op, Pool)
    windows: Sequence[Window] = op.windows
    since = _DILATED_SINCE[node.op_type]
    dilated = max(op.dilation) > 1
    if dilated and edit.opset < since:
        raise Unwritable(
            f"operator set {edit.opset} has no dilated {node.op_type}; convert the file to "
            f"operator set {since} or later with onnx.version_converter.",
            since,
        )
    if any(max(w.padding) >= w.kernel or min(w.padding) < 0 for w in windows):
        # ONNX Runtime refuses pools that are padded by their kernel or more.
        value = float("-inf") if node.op_type == "MaxPool" else 0.0
        windows = pad_in_front(edit, node, windows, value)
        edit.rephrased.add(node.output[0])
    _spell(node, windows, rates=edit.opset >= since)
    _set_ceil(node, op.ceil)


def _set_ceil(node: onnx.NodeProto, ceil: bool) -> None:
    for attribute in node.attribute:
        if attribute.name == "ceil_mode":
            attribute.i = int(ceil)


@writes("AveragePool", "QLinearAveragePool")
def _average(edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:
    step = steps[0]
    op = step.after
    assert isinstance(op, Pool)
    since = _DILATED_SINCE.get(node.op_type, 1 << 30)
    told = edit.opset >= since or max(op.dilation) == 1
    small = all(0 <= min(w.padding) <= max(w.padding) < w.kernel for w in op.windows)
    if told and small and not (op.count_include_pad and _grown(step, op)):
        _spell(node, op.windows, rates=edit.opset >= since)
        _set_ceil(node, op.ceil)
        return
    if node.op_type != "AveragePool":
        raise Unwritable(f"{node.op_type} has no dilation, and it needs one.")
    edit.rephrased.add(node.output[0])
    _convolved(edit, node, step, op)


def _counted(step: Step, index: int, window: Window) -> int:
    """How many positions of the padding on the high side count as taps of an average."""
    if not step.change.dense:
        return window.pad_hi
    dense = step.change.dense[index]
    return dense.factor * dense.window.pad_hi


def _grown(step: Step, op: Pool) -> bool:
    return any(_counted(step, i, w) != w.pad_hi for i, w in enumerate(op.windows))


def _convolved(edit: Edit, node: onnx.NodeProto, step: Step, op: Pool) -> None:
    """The average as a convolution of each channel with equal weights, corrected at the border."""
    import numpy as np
    from onnx import helper

    rank = len(op.windows)
    channels, *lengths = step.x.shape[-rank - 1 :]
    dtype = helper.tensor_dtype_to_np_dtype(edit.dtype(node.input[0]))
    windows, counts = [], []
    for i, (w, length) in enumerate(zip(op.windows, lengths, strict=True)):
        outputs = w.output_length(length, op.ceil)
        missing = (outputs - 1) * w.stride + w.extent - length - w.pad_lo
        first = -w.pad_lo if op.count_include_pad else 0
        last = length + (_counted(step, i, w) if op.count_include_pad else 0)
        counts.append([sum(first <= t < last for t in w.taps(o)) for o in range(outputs)])
        windows.append(Window(w.kernel, w.stride, w.dilation, w.pad_lo, max(w.pad_hi, missing)))
    taps = prod(w.kernel for w in windows)
    kernel = [w.kernel for w in windows]
    x = node.input[0]
    node.op_type = "Conv"
    without(node, "count_include_pad", "ceil_mode", "auto_pad")
    weight = np.full((channels, 1, *kernel), 1 / taps, dtype)
    name = edit.constant(weight, f"{node.output[0]}_weight", node)
    del node.input[:]
    node.input.extend([x, name])
    node.attribute.append(helper.make_attribute("group", channels))
    _spell(node, windows)
    whole = all(c == w.kernel for w, found in zip(windows, counts, strict=True) for c in found)
    if whole or (op.count_include_pad and any(step.open)):
        return
    if any(step.open):
        share = _share_inside(edit, node, windows, dtype)
        edit.then(node, "Div", [share], "inside")
        return
    share_map = np.ones((1, 1), np.float64)
    for w, found in zip(windows, counts, strict=True):
        share_map = share_map[..., None] * (w.kernel / np.maximum(found, 1))
    shares = edit.constant(share_map.astype(dtype), f"{node.output[0]}_share", node)
    edit.then(node, "Mul", [shares], "inside")


def _share_inside(
    edit: Edit, node: onnx.NodeProto, windows: Sequence[Window], dtype: object
) -> str:
    """A map of which share of each window lies inside, computed at whatever size there is."""
    import numpy as np
    from onnx import helper, numpy_helper

    x, base = node.input[0], node.output[0]
    rank = len(windows)
    kernel = [w.kernel for w in windows]
    single = edit.constant(np.ones(2, np.int64), f"{base}_single", node)
    even = np.full((1, 1, *kernel), 1 / prod(kernel), np.dtype(dtype))  # type: ignore[call-overload]
    weight = edit.constant(even, f"{base}_even", node)
    shape = edit.in_front(node, "Shape", [x], "shape")
    if edit.opset < 10:
        sizes = edit.in_front(node, "Slice", [shape], "sizes", starts=[2], ends=[2 + rank])
    else:
        first = edit.constant(np.asarray([2], np.int64), f"{base}_first", node)
        last = edit.constant(np.asarray([2 + rank], np.int64), f"{base}_last", node)
        sizes = edit.in_front(node, "Slice", [shape, first, last], "sizes")
    full = edit.in_front(node, "Concat", [single, sizes], "full", axis=0)
    one = numpy_helper.from_array(np.ones(1, np.dtype(dtype)))  # type: ignore[call-overload]
    ones = edit.in_front(node, "ConstantOfShape", [full], "ones", value=one)
    attributes = {
        a.name: helper.get_attribute_value(a) for a in node.attribute if a.name != "group"
    }
    return edit.in_front(node, "Conv", [ones, weight], "share", **attributes)
