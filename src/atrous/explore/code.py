"""A stack as code: PyTorch, Keras and ONNX, with the padding that the network really has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from atrous.errors import UnsupportedError
from atrous.explore.draft import Draft
from atrous.network import Node
from atrous.network.ops import Conv, ConvTranspose, Pool, Resize

__all__ = ["CODES", "keras_code", "onnx_code", "pytorch_code"]

Pads = tuple[tuple[int, int], ...]


def pytorch_code(draft: Draft) -> str:
    """A `torch.nn.Sequential` with the stack's layers.

    >>> print(pytorch_code(Draft.of("k3d2x8 maxk3s2", (1, 3, 32, 32))))
    import torch
    from torch import nn
    <BLANKLINE>
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=2, dilation=2),
        nn.MaxPool2d(3, stride=2, padding=1),
    )
    print(model(torch.randn(1, 3, 32, 32)).shape)
    """
    lines = _lines(draft, _torch)
    body = "".join(f"    {line}\n" for line in lines)
    shape = ", ".join(map(str, draft.shape))
    return (
        "import torch\nfrom torch import nn\n\n"
        f"model = nn.Sequential(\n{body})\nprint(model(torch.randn({shape})).shape)"
    )


def keras_code(draft: Draft) -> str:
    """A `keras.Sequential` with the stack's layers, channels last."""
    lines = _lines(draft, _keras)
    body = "".join(f"    {line}\n" for line in lines)
    _, channels, *sizes = draft.shape
    shape = ", ".join(map(str, (*sizes, channels)))
    return (
        "import keras\nfrom keras import layers\n\n"
        f"model = keras.Sequential([\n    keras.Input(({shape})),\n{body}])\nmodel.summary()"
    )


def onnx_code(draft: Draft) -> str:
    """A script that writes the stack as `stack.onnx`, with random weights."""
    lines = _lines(draft, _onnx)
    body = "".join(f"{line}\n" for line in lines)
    return (
        "import numpy as np\nimport onnx\nfrom onnx import TensorProto, helper, numpy_helper\n\n"
        "nodes, weights = [], []\nx = 'x'\n\n\n"
        "def add(op, shape=None, **attributes):\n"
        "    global x\n"
        "    inputs, out = [x], f'y{len(nodes)}'\n"
        "    if shape is not None:\n"
        "        w = np.random.randn(*shape).astype(np.float32)\n"
        "        weights.append(numpy_helper.from_array(w, f'w{len(nodes)}'))\n"
        "        inputs.append(f'w{len(nodes)}')\n"
        "    if op == 'Resize':\n"
        "        scales = np.array(attributes.pop('scales'), np.float32)\n"
        "        weights.append(numpy_helper.from_array(scales, f's{len(nodes)}'))\n"
        "        inputs += ['', f's{len(nodes)}']\n"
        "    if op == 'Pad':\n"
        "        pads = np.array(attributes.pop('pads'), np.int64)\n"
        "        value = np.array(attributes.pop('value', 0), np.float32)\n"
        "        weights.append(numpy_helper.from_array(pads, f'p{len(nodes)}'))\n"
        "        weights.append(numpy_helper.from_array(value, f'v{len(nodes)}'))\n"
        "        inputs += [f'p{len(nodes)}', f'v{len(nodes)}']\n"
        "    nodes.append(helper.make_node(op, inputs, [out], **attributes))\n"
        "    x = out\n\n\n"
        f"{body}"
        f"graph = helper.make_graph(\n    nodes, 'stack',\n"
        f"    [helper.make_tensor_value_info('x', TensorProto.FLOAT, {list(draft.shape)})],\n"
        "    [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],\n    weights,\n)\n"
        "model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 19)])\n"
        "onnx.save(onnx.shape_inference.infer_shapes(model), 'stack.onnx')"
    )


CODES: dict[str, Callable[[Draft], str]] = {
    "PyTorch": pytorch_code,
    "Keras": keras_code,
    "ONNX": onnx_code,
}


def _lines(draft: Draft, how: Callable[[Node, tuple[int, int]], Iterator[str]]) -> list[str]:
    """What every layer becomes, given how many channels go in and come out."""
    network = draft.network()
    lines: list[str] = []
    for node in network.nodes:
        channels = network.tensor(node.inputs[0]).shape[1], node.output.shape[1]
        lines += how(node, channels)
    return lines


def _value(values: Sequence[object]) -> str:
    return str(values[0]) if len(set(values)) == 1 else f"({', '.join(map(str, values))})"


def _arguments(pairs: Sequence[tuple[str, Sequence[int]]]) -> str:
    return "".join(f", {name}={_value(values)}" for name, values in pairs if set(values) != {1})


def _torch(node: Node, channels: tuple[int, int]) -> Iterator[str]:
    op, rank = node.op, len(node.output.grid)
    into, out = channels
    if isinstance(op, Resize):
        yield f"nn.Upsample(scale_factor={_value([int(s) for s in op.scales if s])}),"
        return
    assert isinstance(op, Conv | ConvTranspose | Pool)
    kernel = _value(op.kernel)
    stride = ("stride", op.stride)
    dilation = ("dilation", op.dilation)
    pads = op.padding
    low = [lo for lo, _ in pads]
    if isinstance(op, ConvTranspose):
        text = _arguments([stride, dilation])
        if any(op.output_padding):
            text += f", output_padding={_value(op.output_padding)}"
        yield f"nn.ConvTranspose{rank}d({into}, {out}, {kernel}{text}),"
        if any(lo or hi for lo, hi in pads):
            # What the padding of a transposed layer takes away, which may differ at both ends.
            yield f"nn.ConstantPad{rank}d({_flat([(-lo, -hi) for lo, hi in pads])}, 0),"
        return
    even = all(lo == hi >= 0 for lo, hi in pads)
    if isinstance(op, Pool):
        # PyTorch pads pools by half a kernel at most.
        even = even and all(2 * lo <= w.kernel for lo, w in zip(low, op.windows, strict=True))
        # Its average pool over three axes looks at the map without its padding.
        even = even and (op.how == "max" or rank < 3 or not any(low))
    fill = "float('-inf')" if isinstance(op, Pool) and op.how == "max" else "0"
    if not even:
        yield f"nn.ConstantPad{rank}d({_flat(pads)}, {fill}),"
    padding = f", padding={_value(low)}" if even and any(low) else ""
    strides = _arguments([stride])
    if isinstance(op, Conv):
        groups = f", groups={op.groups}" if op.groups > 1 else ""
        rates = _arguments([dilation])
        yield f"nn.Conv{rank}d({into}, {out}, {kernel}{strides}{padding}{rates}{groups}),"
    elif op.how == "max":
        # Left out, the stride of PyTorch's pools is their kernel.
        step = _value(op.stride)
        yield f"nn.MaxPool{rank}d({kernel}, stride={step}{padding}{_arguments([dilation])}),"
    elif max(op.dilation) > 1:
        groups = f", groups={into}, bias=False"
        yield "# an average over spread positions: set its weights to one over their number"
        rates = _arguments([dilation])
        yield f"nn.Conv{rank}d({into}, {out}, {kernel}{strides}{padding}{rates}{groups}),"
    else:
        step = _value(op.stride)
        yield f"nn.AvgPool{rank}d({kernel}, stride={step}{padding}),"


def _flat(pads: Pads | list[tuple[int, int]]) -> str:
    return f"({', '.join(str(edge) for pair in reversed(pads) for edge in pair)})"


def _pairs(pads: Pads) -> str:
    pairs = ", ".join(f"({lo}, {hi})" for lo, hi in pads)
    return pairs if len(pads) == 1 else f"({pairs})"


def _keras(node: Node, channels: tuple[int, int]) -> Iterator[str]:
    op, rank = node.op, len(node.output.grid)
    out = channels[1]
    if isinstance(op, Resize):
        yield f"layers.UpSampling{rank}D({_value([int(s) for s in op.scales if s])}),"
        return
    assert isinstance(op, Conv | ConvTranspose | Pool)
    kernel = _value(op.kernel)
    strides = _arguments([("strides", op.stride)])
    rates = _arguments([("dilation_rate", op.dilation)])
    pads = op.padding
    if isinstance(op, ConvTranspose):
        if strides and rates:
            raise UnsupportedError(
                f"{node.name}: Keras has no transposed layer with both a stride and a rate."
            )
        yield f"layers.Conv{rank}DTranspose({out}, {kernel}{strides}{rates}),"
        missing = op.output_padding or (0,) * rank
        # Keras makes at least stride outputs for each input, also behind the last one.
        behind = [max(w.stride - w.extent, 0) for w in op.windows]
        ends = [
            (lo, hi - extra + more)
            for (lo, hi), extra, more in zip(pads, missing, behind, strict=True)
        ]
        more = tuple((max(-lo, 0), max(-hi, 0)) for lo, hi in ends)
        less = tuple((max(lo, 0), max(hi, 0)) for lo, hi in ends)
    else:
        more = tuple((max(lo, 0), max(hi, 0)) for lo, hi in pads)
        less = tuple((max(-lo, 0), max(-hi, 0)) for lo, hi in pads)
    if any(sum(pair) for pair in more):
        if isinstance(op, Pool) and op.how == "max":
            yield "# pads with zeros, so the maps before it must not be negative"
        yield f"layers.ZeroPadding{rank}D({_pairs(more)}),"
    if any(sum(pair) for pair in less):
        yield f"layers.Cropping{rank}D({_pairs(less)}),"
    if isinstance(op, ConvTranspose):
        return
    apart = bool(strides and rates)
    if apart:
        # Keras has no layer with both: all outputs are made, and every so-manieth is kept.
        kept, strides = _value(op.stride), ""
    if isinstance(op, Conv) and op.groups > 1:
        name = f"DepthwiseConv{rank}D" if rank < 3 and out == op.groups else ""
        if name and (not strides or len(set(op.stride)) == 1):
            yield f"layers.{name}({kernel}{strides}{rates}),"
        else:
            yield f"layers.Conv{rank}D({out}, {kernel}{strides}{rates}, groups={op.groups}),"
    elif isinstance(op, Conv):
        yield f"layers.Conv{rank}D({out}, {kernel}{strides}{rates}),"
    elif rates:
        yield "# Keras has no pool with a rate: a depthwise layer reads the same positions"
        yield f"layers.Conv{rank}D({out}, {kernel}{strides}{rates}, groups={out}),"
    else:
        name = "MaxPooling" if op.how == "max" else "AveragePooling"
        step = f", strides={_value(op.stride)}"
        yield f"layers.{name}{rank}D({kernel}{step}),"
    if apart:
        yield f"layers.MaxPooling{rank}D(1, strides={kept}),  # every so-manieth position"


def _onnx(node: Node, channels: tuple[int, int]) -> Iterator[str]:
    op = node.op
    into, out = channels
    if isinstance(op, Resize):
        scales = [1, 1, *(int(s) for s in op.scales if s)]
        yield f"add('Resize', scales={scales}, mode='nearest')"
        return
    assert isinstance(op, Conv | ConvTranspose | Pool)
    kernel, pads = list(op.kernel), op.padding
    common = f"kernel_shape={kernel}, strides={list(op.stride)}, dilations={list(op.dilation)}"
    # Pools take padding below their kernel only, and no layer takes a negative one, which crops.
    apart = any(edge < 0 for pair in pads for edge in pair) or (
        isinstance(op, Pool)
        and any(max(pair) >= size for pair, size in zip(pads, kernel, strict=True))
    )
    if apart:
        size = [0, 0, *(lo for lo, _ in pads), 0, 0, *(hi for _, hi in pads)]
        value = ", value=-np.inf" if isinstance(op, Pool) and op.how == "max" else ""
        if isinstance(op, ConvTranspose):
            raise UnsupportedError(f"{node.name}: ONNX has no negative padding here.")
        yield f"add('Pad', pads={size}{value})"
        pads = ((0, 0),) * len(pads)
    edges = f"pads={[lo for lo, _ in pads] + [hi for _, hi in pads]}"
    if isinstance(op, Conv):
        shape = [out, into // op.groups, *kernel]
        yield f"add('Conv', {shape}, {common}, {edges}, group={op.groups})"
    elif isinstance(op, ConvTranspose):
        extra = f", output_padding={list(op.output_padding)}" if any(op.output_padding) else ""
        yield f"add('ConvTranspose', {[into, out, *kernel]}, {common}, {edges}{extra})"
    elif op.how == "max":
        yield f"add('MaxPool', {common}, {edges})"
    else:
        yield f"add('AveragePool', {common}, {edges}, count_include_pad=1)"
