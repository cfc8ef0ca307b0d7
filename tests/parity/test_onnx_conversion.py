"""ONNX files with strides turned to dilation give, in ONNX Runtime, what the originals give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

import atrous
from tests.exporting import export
from tests.onnx_conversion import (
    assert_converts,
    assert_goes_back,
    assert_same_values,
    model,
    planned,
    written,
)
from tests.onnx_probe import ints
from tests.shortened import FEW_DENSE_LAYERS, shortened


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def chain(
    middle: onnx.NodeProto | list[onnx.NodeProto],
    shape: tuple[int, ...],
    constants: dict[str, np.ndarray] | None = None,
    *,
    channels: int = 4,
    opset: int = 17,
    inputs: dict[str, list[int | str]] | None = None,
) -> onnx.ModelProto:
    """A strided convolution, what is tried (from `a` to `b`), and a convolution behind it."""
    rank = len(shape) - 2
    nodes = [
        helper.make_node(
            "Conv",
            ["x", "w0"],
            ["a"],
            name="first",
            strides=[2] * rank,
            pads=[1] * rank * 2,
            kernel_shape=[3] * rank,
        ),
        *(middle if isinstance(middle, list) else [middle]),
        helper.make_node("Conv", ["b", "w1"], ["c"], name="second", kernel_shape=[3] * rank),
        helper.make_node("Relu", ["c"], ["y"], name="act"),
    ]
    held = {
        "w0": normal(channels, shape[1], *(3,) * rank),
        "w1": normal(3, channels, *(3,) * rank, seed=1),
        **(constants or {}),
    }
    return model(nodes, inputs or {"x": shape}, held, opset=opset)


def pool(kind: str, kernel: list[int], **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, ["a"], ["b"], name="mid", kernel_shape=kernel, **attributes)


@pytest.mark.parametrize("size", [31, 32, 34])
@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_padding_that_the_runtime_works_out_is_written_in_numbers(auto, kernel, size):
    node = helper.make_node(
        "Conv",
        ["a", "w"],
        ["b"],
        name="mid",
        auto_pad=auto,
        strides=[2, 2],
        kernel_shape=[kernel] * 2,
    )
    proto = chain(node, (1, 2, size, size + 3), {"w": normal(4, 4, kernel, kernel, seed=3)})
    assert_converts(proto, 1)
    assert_converts(proto, 2)


@pytest.mark.parametrize("size", [29, 32])
@pytest.mark.parametrize("opset", [11, 21])
@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(
    "said",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 2, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 1], "ceil_mode": 1},
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [4, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ],
    ids=str,
)
def test_averages_count_their_taps_as_the_original_does(said, include, opset, size):
    node = helper.make_node(
        "AveragePool", ["a"], ["b"], name="mid", count_include_pad=include, **said
    )
    proto = chain(node, (1, 2, size, size), opset=opset)
    assert_converts(proto, 1, same_ops=False)
    if "strides" in said:
        assert_converts(proto, 2, same_ops=False)


@pytest.mark.parametrize("size", [29, 30, 32])
@pytest.mark.parametrize(
    "said",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [0, 1, 2, 0]},
        {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 3], "dilations": [2, 1], "pads": [2, 1, 2, 1]},
    ],
    ids=str,
)
def test_maxima_are_taken_over_the_same_positions(said, size):
    node = helper.make_node("MaxPool", ["a"], ["b"], name="mid", **said)
    assert_converts(chain(node, (1, 2, size, size + 1)), 1, same_ops=False)


@pytest.mark.parametrize("opset", [10, 13, 18])
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("pads", [[2, 1, 2, 1], [1, 0, 2, 3]])
@pytest.mark.parametrize("size", [33, 36])
def test_each_phase_is_padded_as_the_original_map_is(mode, opset, pads, size):
    full = [0, 0, *pads[:2], 0, 0, *pads[2:]]
    if opset < 11:
        node = helper.make_node("Pad", ["a"], ["b"], name="mid", mode=mode, pads=full)
        proto = chain(node, (1, 2, size, size), opset=opset)
    elif opset < 18:
        node = helper.make_node("Pad", ["a", "p"], ["b"], name="mid", mode=mode)
        proto = chain(node, (1, 2, size, size), {"p": ints(*full)}, opset=opset)
    else:
        node = helper.make_node("Pad", ["a", "p", "", "axes"], ["b"], name="mid", mode=mode)
        held = {"p": ints(*pads), "axes": ints(2, 3)}
        proto = chain(node, (1, 2, size, size), held, opset=opset)
    assert_converts(proto, 1, same_ops=mode == "constant")


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("size", [32, 33])
def test_strided_slices_take_every_phase(start, size):
    node = helper.make_node("Slice", ["a", "s", "e", "d", "t"], ["b"], name="mid")
    held = {"s": ints(start, 0), "e": ints(2**31 - 1, 2**31 - 1), "d": ints(2, 3), "t": ints(2, 2)}
    proto = chain(node, (1, 2, size, size), held)
    made = assert_converts(proto, 1, same_ops=False)
    assert "d" in {i.name for i in made.model.graph.initializer}
    assert_converts(proto, 2, same_ops=False)


@pytest.mark.parametrize(("start", "end"), [(1, -1), (0, 14), (2, 2**31 - 1), (-9, 2**31 - 1)])
def test_crops_take_what_the_original_takes(start, end):
    node = helper.make_node("Slice", ["a", "s", "e", "d"], ["b"], name="mid")
    held = {"s": ints(start), "e": ints(end), "d": ints(2)}
    assert_converts(chain(node, (1, 2, 32, 32), held), 1)


def test_a_slice_of_all_positions_takes_all_of_the_denser_map():
    node = helper.make_node("Slice", ["a", "s", "e", "d"], ["b"], name="mid")
    held = {"s": ints(0), "e": ints(16), "d": ints(2)}
    assert_converts(chain(node, (1, 2, 32, 32), held), 1, same_ops=False)


def test_a_resize_to_the_size_of_another_map_follows_that_map():
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="first", strides=[2, 2], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["a"], ["g"], name="pool"),
        helper.make_node("Resize", ["g", "", "", "sizes"], ["u"], name="spread", mode="nearest"),
        helper.make_node("Add", ["a", "u"], ["y"], name="add"),
    ]
    held = {"w0": normal(4, 2, 3, 3), "sizes": ints(1, 4, 15, 16)}
    proto = model(nodes, {"x": (1, 2, 30, 32)}, held)
    made = written(proto, planned(proto, 1))
    (sizes,) = [t for t in made.model.graph.initializer if t.name.startswith("sizes")]
    assert onnx.numpy_helper.to_array(sizes).tolist() == [1, 4, 30, 32]


def test_channels_are_shuffled_on_maps_of_any_size():
    nodes = [
        helper.make_node("Reshape", ["a", "apart"], ["r"], name="apart"),
        helper.make_node("Transpose", ["r"], ["t"], name="turn", perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["t", "together"], ["b"], name="together"),
    ]
    held = {"apart": ints(1, 2, 2, 16, 16), "together": ints(0, 4, 16, -1)}
    proto = chain(nodes, (1, 2, 32, 32), held)
    made = assert_converts(proto, 1)
    assert_goes_back(proto, made, 2)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("size", [17, 20])
def test_maps_of_one_to_three_dimensions_convert(rank, size):
    w = normal(4, 1, *(2, 3, 4)[:rank], seed=5)
    node = helper.make_node(
        "Conv",
        ["a", "w"],
        ["b"],
        name="mid",
        group=4,
        strides=[2] * rank,
        kernel_shape=w.shape[2:],
        pads=[*(1, 0, 2)[:rank], *(0, 1, 1)[:rank]],
    )
    proto = chain(node, (1, 2, *(size, size + 1, size + 2)[:rank]), {"w": w})
    assert_converts(proto, 1)
    axes = planned(proto, 1).reference.axes
    assert_converts(proto, {axes[0]: 2} | dict.fromkeys(axes[1:], 1))


def test_transposed_convolutions_of_stride_one_read_every_phase():
    node = helper.make_node(
        "ConvTranspose", ["a", "w"], ["b"], name="mid", pads=[1, 0, 1, 1], kernel_shape=[3, 3]
    )
    assert_converts(chain(node, (1, 2, 32, 31), {"w": normal(4, 4, 3, 3)}), 1)


@pytest.mark.parametrize("size", [64, 75])
def test_open_sizes_get_attributes_that_hold_at_every_size(size):
    node = pool("MaxPool", [3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    proto = chain(node, (1, 2, 64, 64), inputs={"x": ["n", 2, "h", "w"]})
    plan = planned(proto, 1, (1, 2, 64, 64))
    made = written(proto, plan)
    assert_same_values(proto, made, plan, shapes={"x": (2, 2, size, size + 5)})


@pytest.mark.parametrize("size", [64, 61, 75])
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("include", [0, 1])
def test_open_sizes_leave_out_the_padding_that_only_one_size_needs(kind, size, opset, include):
    extra = {"count_include_pad": include} if kind == "AveragePool" else {}
    node = pool(kind, [2, 2], strides=[2, 2], **extra)
    last = pool(kind, [3, 3], strides=[2, 2], pads=[1, 1, 1, 1], **extra)
    last.input[0], last.output[0], last.name = "b0", "b", "last"
    node.output[0] = "b0"
    proto = chain([node, last], (1, 2, 64, 64), inputs={"x": ["n", 2, "h", "w"]}, opset=opset)
    plan = planned(proto, 1, (1, 2, 64, 64))
    made = written(proto, plan)
    assert any("mid: the file leaves h open" in note for note in made.notes)
    assert_same_values(proto, made, plan, shapes={"x": (2, 2, size, size + 5)})


# Real models


def exported(
    module: nn.Module, size: int, path: Path, *, dynamo: bool, dynamic: bool = False
) -> Path:
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 3, size, size)
    axes = {"dynamic_axes": {"x": {0: "n", 2: "h", 3: "w"}}} if dynamic else {}
    return export(
        module.eval(), x, path, dynamo=dynamo, input_names=["x"], external_data=False, **axes
    )


def trunk(name: str) -> nn.Module:
    """What a library has in front of its classifier, two of the blocks that it repeats."""
    return shortened(_trunk(name))


def _trunk(name: str) -> nn.Module:
    import timm
    import torchvision

    if name == "densenet121":
        return torchvision.models.DenseNet(block_config=FEW_DENSE_LAYERS).features
    if name == "resnet50":
        whole = torchvision.models.resnet50(weights=None)
        return nn.Sequential(*list(whole.children())[:-2])
    if name in ("mobilenet_v2", "shufflenet_v2_x0_5"):
        whole = getattr(torchvision.models, name)(weights=None)
        if name == "shufflenet_v2_x0_5":
            parts = [whole.conv1, whole.maxpool, whole.stage2, whole.stage3, whole.stage4]
            return nn.Sequential(*parts, whole.conv5)
        return whole.features
    return timm.create_model(name, features_only=True, out_indices=(-1,))


MODELS = (
    "resnet50",
    "resnet18d",
    "mobilenet_v2",
    "densenet121",
    "convnext_atto",
    "shufflenet_v2_x0_5",
)


REPHRASED = ("resnet18d", "densenet121")  # pools with more padding than their kernel


@pytest.mark.parametrize("name", MODELS)
def test_real_models_at_stride_8_keep_every_value(name, tmp_path):
    dynamo = name == "convnext_atto"
    size = 96 if name == "resnet18d" else 64
    path = exported(trunk(name), size, tmp_path / "model.onnx", dynamo=dynamo)
    made = assert_converts(path, 8, same_ops=name not in REPHRASED)
    if name in ("resnet50", "mobilenet_v2"):
        assert_goes_back(path, made, 32)


def test_a_real_model_of_open_size_keeps_every_value_at_other_sizes(tmp_path):
    path = exported(trunk("resnet18"), 64, tmp_path / "model.onnx", dynamo=False, dynamic=True)
    plan = planned(path, 8, (1, 3, 64, 64))
    made = written(path, plan)
    assert made.notes == ()
    for size in (64, 79, 96):
        assert_same_values(path, made, plan, shapes={"x": (2, 3, size, size + 9)})


@pytest.mark.parametrize("opset", [7, 9, 11, 17])
@pytest.mark.parametrize(
    ("kind", "since"), [("MaxPool", 10), ("LpPool", 18), ("AveragePool", 0)], ids=lambda x: str(x)
)
def test_a_pool_whose_operator_set_has_no_rate_is_raised_to_one_that_has(kind, since, opset):
    before = chain(pool(kind, [3, 3], strides=[2, 2]), (1, 3, 33, 33), opset=opset)
    done = atrous.convert(before, 1)
    assert done.certificate.verdict == "exact"
    assert done.certificate.state == "measured"
    made = {entry.domain: entry.version for entry in done.model.opset_import}
    assert made[""] == max(opset, since)
    raised = f"operator set {opset} became {since}, which mid needs"
    assert (raised in done.certificate.notes) == (since > opset)
