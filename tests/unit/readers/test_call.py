"""What every reader's calls share: what is emitted, what becomes opaque, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from atrous.errors import ArgumentError, ReadError
from atrous.geometry import Window
from atrous.network import Builder, Network, Param, Tensor
from atrous.network.ops import Conv, Elementwise, Opaque, Slice
from atrous.readers.call import Call, Fixed, NotUnderstood, Output, network_of, params_behind
from atrous.registry import Registry

SHAPE = (1, 4, 10, 12)
LAYERS = Registry[str, Any]("translation")


@dataclass
class Stored(Fixed):
    """A constant of a toy framework."""

    shape: tuple[int, ...]
    params: tuple[Param, ...] = ()


@LAYERS.under("Conv2D")
def _conv(call: Call[Any]) -> Tensor:
    kernel = call["weight"].shape[2:]
    windows = Window.of_axes(kernel, (1, 1), call["rate"], ((3, 0), (2, 2)))
    return call.emit(Conv(windows, call["weight"].shape[0]), call.x, params=call.params("weight"))


@LAYERS.under("Add")
def _add(call: Call[Any]) -> Tensor:
    return call.emit(Elementwise("add"), *map(call.materialized, call.values))


@LAYERS.under("Halves")
def _halves(call: Call[Any]) -> list[Tensor]:
    return [call.emit(Slice(1, 2 * i, 2), call.x, out=i) for i in range(2)]


@LAYERS.under("Stops")
def _stops(call: Call[Any]) -> Tensor:
    call.step(Elementwise("on the way"), call.x)
    raise NotUnderstood("goes its own way")


@LAYERS.under("Forgets")
def _forgets(call: Call[Any]) -> Tensor:
    return call.emit(Elementwise("neg"), call.x)


WEIGHT = Stored((4, 4, 2, 3), (Param("layer.weight", 96),))


def read(op: str, *shapes: tuple[int, ...], inputs: int = 1, **arguments: Any) -> Network:
    """The network of one call on `inputs` inputs; several `shapes` are several outputs."""

    def translate(builder: Builder, tensors: Any) -> list[Tensor]:
        given = {**tensors, **arguments}
        outputs = [Output(shape) for shape in shapes]
        call = Call(builder, op, given, outputs, "layer", several=len(shapes) > 1)
        made = call.translated(LAYERS[op])
        return [x for x in (made if isinstance(made, list) else [made]) if x is not None]

    names = ["x", "y"][:inputs]
    return network_of("toy", dict.fromkeys(names, SHAPE), dict.fromkeys(names, 4), translate)


def test_a_reader_of_a_new_framework_writes_translations_and_nothing_else():
    network = read("Conv2D", (1, 4, 10, 6), weight=WEIGHT, rate=(3, 5))
    (node,) = network.nodes
    assert (node.name, node.opaque, node.params) == ("layer", "", ("layer.weight",))
    assert list(node.moves[0]["w"].at(3)) == [1, 6, 11]
    assert list(node.moves[0]["h"].at(3)) == [0, 3]


def test_a_shape_that_the_source_says_otherwise_makes_the_op_opaque():
    (node,) = read("Conv2D", (1, 4, 10, 7), weight=WEIGHT, rate=(3, 5)).nodes
    assert node.opaque == "makes (1, 4, 10, 7) where the rule says (1, 4, 10, 6)"


def test_a_call_that_is_not_understood_leaves_nothing_but_its_reason():
    (node,) = read("Stops", SHAPE, weight=WEIGHT).nodes
    assert isinstance(node.op, Opaque)
    assert (node.op.label, node.opaque, node.inputs) == ("Stops", "goes its own way", ("x",))
    assert node.params == ("layer.weight",)


def test_a_translation_that_forgets_an_input_is_not_believed():
    (node,) = read("Forgets", SHAPE, inputs=2).nodes
    assert node.opaque == "also reads y, which its rule does not follow"
    assert node.inputs == ("x", "y")
    assert read("Add", SHAPE, inputs=2).nodes[0].opaque == ""


def test_a_constant_among_operands_becomes_a_node_with_its_parameters():
    constant, add = read("Add", SHAPE, other=Stored((4, 1, 1), (Param("bias", 4),))).nodes
    assert (constant.name, constant.params, add.inputs) == ("bias", ("bias",), ("x", "bias"))


def test_each_output_is_checked_against_its_own_shape():
    first, second = read("Halves", (1, 2, 10, 12), (1, 3, 10, 12)).nodes
    assert first.opaque == ""
    assert second.opaque == "makes (1, 3, 10, 12) where the rule says (1, 2, 10, 12)"


def test_of_a_call_that_is_not_understood_only_wanted_outputs_are_made():
    builder = Builder()
    x = builder.input("x", SHAPE)
    outputs = [Output(SHAPE), Output(None, used=False), Output((1, 7), 8)]
    made = Call(builder, "Three", {"x": x}, outputs, "layer", several=True).opaque("is new")
    assert [tensor and tensor.shape for tensor in made] == [SHAPE, None, (1, 7)]
    assert made[2].itemsize == 8


def test_a_shape_that_the_source_does_not_say_is_not_made_up():
    call = Call(Builder(), "Any", {}, [Output(None)], "layer")
    with pytest.raises(NotUnderstood, match="the shape of its output is not known"):
        _ = call.shape


def test_a_call_needs_a_first_argument_that_depends_on_the_input():
    call = Call(Builder(), "Any", {"weight": WEIGHT}, [Output(SHAPE)], "layer")
    with pytest.raises(NotUnderstood, match="its first argument does not depend on the input"):
        _ = call.x


def test_dimensions_are_counted_from_the_front_and_must_exist():
    call = Call(Builder(), "Any", {}, [], "layer")
    assert call.axes((-1, 1, 3), 4) == (1, 3)
    with pytest.raises(ReadError, match="dimension 4 does not exist; the tensor has 4"):
        call.axis(4, 4)
    with pytest.raises(ReadError, match="3 axes are more than the tensor's 2 dimensions"):
        call.axes((0, 1, 0), 2)
    with pytest.raises(ReadError, match="1 axis is more than the tensor's 0 dimensions"):
        call.axes((0,), 0)


def test_a_parameter_behind_several_constants_counts_once():
    shared, own = Param("shared", 3), Param("own", 5)
    values = [Stored((3,), (shared,)), None, 7, Stored((8,), (own, shared))]
    assert params_behind(values) == (shared, own)


def test_a_network_none_of_whose_outputs_depends_on_the_input_is_refused():
    with pytest.raises(ReadError, match=r"^toy: no output depends on the input"):
        network_of("toy", {"x": SHAPE}, {"x": 4}, lambda _builder, _inputs: [])


@pytest.mark.parametrize(("framework", "op"), [("torch", "conv2d"), ("onnx", "Conv")])
def test_an_op_has_one_translation_in_each_reader(framework, op):
    windows = pytest.importorskip(f"atrous.readers.{framework}.windows")
    with pytest.raises(ArgumentError, match=f"{op}' is registered already"):
        windows.translates(op)(lambda call: call.x)
