"""Reads and writes at places, against ONNX Runtime: stored ones exactly, others as a bound."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

import atrous
from atrous.readers.onnx.reader import read_onnx
from tests.nan_probe import assert_reads_by_change
from tests.onnx_probe import assert_reads_agree, ints, model, one, session, weights

N = 11
CONV = helper.make_node("Conv", ["x", "w"], ["u"], pads=[1, 1], name="conv")
LAST = helper.make_node("Conv", ["v", "w"], ["y"], name="last")
END = -(2**63) + 1


def chain(*nodes: Any, **constants: np.ndarray) -> onnx.ModelProto:
    """Nodes from `u` to `v` between two convolutions."""
    return model([CONV, *nodes, LAST], {"x": (1, 4, N)}, {"w": weights(4, 4, 3), **constants})


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [(-1, END, -1), (N, END, -1), (8, 2, -1), (-1, END, -2), (9, 0, -3), (N - 1, N - 4, -1)],
)
def test_a_slice_that_runs_backwards_reads_from_the_end(start: int, end: int, step: int) -> None:
    node = helper.make_node("Slice", ["u", "s", "e", "a", "t"], ["v"])
    given = {"s": ints(start), "e": ints(end), "a": ints(2), "t": ints(step)}
    network = assert_reads_agree(chain(node, **given))
    assert atrous.inspect(network).outputs[0].is_global


def test_a_reversal_of_channels_and_of_an_image_both_ways_read_what_the_runtime_reads() -> None:
    given = [ints(-1, -1), ints(END, END), ints(2, 3), ints(-1, -1)]
    assert_reads_agree(one("Slice", (1, 2, 4, 5), *given))
    assert_reads_agree(one("Slice", (1, 2, 4, 5), ints(-1), ints(END), ints(1), ints(-1)))


@pytest.mark.parametrize("places", [[3, 1, 4, 1, 5], [10, 0], [2, 2, 2], [-1, -2, 5], [7]])
def test_positions_picked_one_by_one_are_followed(places: list[int]) -> None:
    node = helper.make_node("Gather", ["u", "i"], ["v"], axis=2)
    proto = model([CONV, node], {"x": (1, 4, N)}, {"w": weights(4, 4, 3), "i": ints(*places)})
    proto.graph.output[0].name = "v"
    assert_reads_agree(proto)
    table = np.asarray(places * 2, np.int64).reshape(2, -1)
    if len(places) > 1:
        rows = model([CONV, node], {"x": (1, 4, N)}, {"w": weights(4, 4, 3), "i": table})
        rows.graph.output[0].name = "v"
        read_onnx(rows)


def test_elements_picked_alike_in_all_channels_are_followed() -> None:
    places = np.broadcast_to(ints(5, 0, 5, 9), (1, 4, 4)).copy()
    node = helper.make_node("GatherElements", ["u", "i"], ["v"], axis=2)
    assert_reads_agree(chain(node, i=places))
    places[0, 1] += 1
    network = read_onnx(chain(node, i=places))
    assert "another position for each channel" in network.node("GatherElements_1").opaque


def test_a_product_of_places_is_followed() -> None:
    grid = np.stack(np.meshgrid([0], [2, 0], np.arange(1, N, 2), indexing="ij"), -1)
    node = helper.make_node("GatherND", ["u", "i"], ["v"])
    network = assert_reads_agree(chain_of(node, i=grid))
    assert network.tensor(network.outputs[0]).shape == (1, 2, 5)
    mask = np.stack(np.meshgrid([0], [1], np.arange(N), indexing="ij"), -1).reshape(N, 3)
    assert_reads_agree(chain_of(node, i=mask))
    rows = np.stack(np.meshgrid([0], np.arange(4), indexing="ij"), -1)
    assert_reads_agree(chain_of(node, i=rows))
    swapped = np.stack(np.meshgrid([0], np.arange(3), [1, 2], indexing="ij"), -1).transpose(
        2, 1, 0, 3
    )
    assert_reads_agree(chain_of(node, i=swapped))
    crooked = grid.copy()
    crooked[0, 0, 0, 2] = 0
    assert not atrous.inspect(chain_of(node, i=crooked)).complete


def chain_of(*nodes: Any, **constants: np.ndarray) -> onnx.ModelProto:
    """A convolution, then nodes from `u` to `v`."""
    made = {"w": weights(4, 4, 3), **constants}
    return model([CONV, *nodes], {"x": (1, 4, N)}, made, outputs=("v",))


@pytest.mark.parametrize(("first", "width"), [(0, 2), (1, 3), (0, 4), (3, 1)])
def test_channels_written_over_are_read_where_they_are(first: int, width: int) -> None:
    places = np.stack(np.meshgrid([0], range(first, first + width), indexing="ij"), -1)
    nodes = [
        helper.make_node("Slice", ["x", "s", "e", "one"], ["part"]),
        helper.make_node("Conv", ["part", "k"], ["new"], pads=[2, 2]),
        helper.make_node("ScatterND", ["u", "i", "new"], ["v"]),
    ]
    given = {"i": places, "s": ints(0), "e": ints(1), "one": ints(1), "k": weights(width, 1, 5)}
    network = read_onnx(chain_of(*nodes, **given))
    assert not any(node.opaque for node in network.nodes)
    assert_no_read_is_left_out(chain_of(*nodes, **given))


def assert_no_read_is_left_out(proto: onnx.ModelProto, seeds: int = 3) -> None:
    """Whatever position changes an output is in its footprint; the report is complete."""
    report = atrous.inspect(proto)
    assert report.complete, report.opaque
    runner = session(proto)
    x = report.network.inputs[0]
    spatial = [i for i, dim in enumerate(x.layout) if any(atom.axis for atom in dim)]
    assert spatial
    moved = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        feed = rng.normal(size=x.shape).astype(np.float32)
        (base,) = runner.run(None, {x.name: feed})
        output = report.network.tensor(report.network.outputs[0])
        assert base.shape == output.shape
        held = [i for i, dim in enumerate(output.layout) if any(atom.axis for atom in dim)]
        rest = tuple(i for i in range(base.ndim) if i not in held)
        masks = {
            at: report.footprint(at=at or None).mask
            for at in product(*(range(output.shape[i]) for i in held))
        }
        for place in product(*(range(x.shape[i]) for i in spatial)):
            where: list[Any] = [slice(None)] * len(x.shape)
            for dim, p in zip(spatial, place, strict=True):
                where[dim] = p
            other = feed.copy()
            other[tuple(where)] += 3
            changed = (runner.run(None, {x.name: other})[0] != base).any(axis=rest)
            for at, mask in masks.items():
                if changed[at]:
                    moved += 1
                    assert mask[place], f"output {at} changes with {place}, which it does not read"
    assert moved


DATA: dict[str, tuple[list[Any], dict[str, np.ndarray]]] = {
    "elements at the largest": (
        [
            helper.make_node("ArgMax", ["u"], ["i"], axis=2, keepdims=1),
            helper.make_node("GatherElements", ["u", "i"], ["v"], axis=2),
        ],
        {},
    ),
    "elements at places for each position": (
        [
            helper.make_node("ArgMax", ["u"], ["i"], axis=1, keepdims=1),
            helper.make_node("GatherElements", ["u", "i"], ["v"], axis=2),
        ],
        {},
    ),
    "channels at places for each position": (
        [
            helper.make_node("ArgMax", ["u"], ["i"], axis=1, keepdims=1),
            helper.make_node("GatherElements", ["u", "i"], ["v"], axis=1),
        ],
        {},
    ),
    "slices at the largest of each channel": (
        [
            helper.make_node("ArgMax", ["u"], ["i"], axis=2, keepdims=0),
            helper.make_node("Squeeze", ["i", "zero"], ["j"]),
            helper.make_node("Gather", ["u", "j"], ["v"], axis=2),
        ],
        {"zero": ints(0)},
    ),
    "vectors of places": (
        [
            helper.make_node("ArgMax", ["u"], ["i"], axis=1, keepdims=0),
            helper.make_node("Unsqueeze", ["i", "two"], ["j"]),
            helper.make_node("Mul", ["j", "none"], ["k"]),
            helper.make_node("Concat", ["k", "j"], ["l"], axis=2),
            helper.make_node("GatherND", ["u", "l"], ["v"]),
        ],
        {"two": ints(2), "none": ints(0)},
    ),
    "the best three": (
        [helper.make_node("TopK", ["u", "three"], ["v", "places"], axis=2)],
        {"three": ints(3)},
    ),
    "written at the largest": (
        [
            helper.make_node("ArgMax", ["u"], ["i"], axis=2, keepdims=1),
            helper.make_node("ReduceMax", ["u"], ["m"], axes=[2]),
            helper.make_node("ScatterElements", ["u", "i", "m"], ["v"], axis=2),
        ],
        {},
    ),
    "a row of a table": (
        [
            helper.make_node("ArgMax", ["u"], ["i"], axis=1, keepdims=0),
            helper.make_node("Gather", ["table", "i"], ["v"], axis=1),
        ],
        {"table": weights(3, 4, 2)},
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_what_is_chosen_by_data_is_read_all_along_its_dimension(name: str) -> None:
    nodes, constants = DATA[name]
    assert_no_read_is_left_out(chain_of(*nodes, **constants))


def choice(then: list[Any], other: list[Any], out: str = "v") -> onnx.ModelProto:
    """Either of two branches by the largest value."""
    graphs = {
        f"{side}_branch": helper.make_graph(nodes, side, [], [onnx.ValueInfoProto(name=side)])
        for side, nodes in (("then", then), ("else", other))
    }
    nodes = [
        helper.make_node("ReduceMax", ["u"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "t"], ["c"]),
        helper.make_node("If", ["c"], [out], **graphs),
    ]
    return chain_of(*nodes, t=np.float32(8), k=weights(4, 4, 5), l=weights(4, 4, 1))


def test_branches_that_data_choose_are_read_both_and_cost_the_dearer() -> None:
    wide = helper.make_node("Conv", ["u", "k"], ["then"], pads=[2, 2])
    flat = helper.make_node("Conv", ["u", "l"], ["else"])
    proto = choice([wide], [flat])
    assert_no_read_is_left_out(proto)
    report = atrous.inspect(proto)
    assert report.macs == N * 4 * 4 * (3 + 5)
    assert report.outputs[0].field[0].size == 7
    assert report.outputs[0].is_global
    assert any("one of two branches runs, by data" in note for note in report.network.notes)
    assert atrous.inspect(choice([flat_into("then")], [wide_into("else")])).macs == report.macs


def wide_into(name: str) -> Any:
    return helper.make_node("Conv", ["u", "k"], [name], pads=[2, 2])


def flat_into(name: str) -> Any:
    return helper.make_node("Conv", ["u", "l"], [name])


def test_branches_that_make_different_shapes_are_not_understood() -> None:
    shorter = helper.make_node("Conv", ["u", "k"], ["then"])
    report = atrous.inspect(choice([shorter], [flat_into("else")]))
    assert not report.complete
    assert "decided by data" in report.opaque[0]
    invalid = helper.make_node("Squeeze", ["u"], ["then"], name="bad")
    twice = helper.make_node("Transpose", ["then"], ["b"], perm=[0, 0])
    report = atrous.inspect(choice([invalid, twice], [flat_into("else")]))
    assert report.macs >= 0


@pytest.mark.parametrize("length", [1, 6, N])
def test_a_sequence_is_reversed_as_far_as_it_goes(length: int) -> None:
    nodes = [
        helper.make_node("Transpose", ["u"], ["a"], perm=[0, 2, 1]),
        helper.make_node("ReverseSequence", ["a", "n"], ["b"], time_axis=1, batch_axis=0),
        helper.make_node("Transpose", ["b"], ["v"], perm=[0, 2, 1]),
    ]
    assert_reads_agree(chain(*nodes, n=ints(length)))


def test_very_many_positions_are_not_picked_one_by_one() -> None:
    length = 1 << 21
    given = [ints(-1), ints(END), ints(2), ints(-1)]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["u"], name="conv"),
        helper.make_node("Slice", ["u", "c0", "c1", "c2", "c3"], ["y"], name="turn"),
    ]
    constants = {f"c{i}": array for i, array in enumerate(given)} | {"w": weights(1, 1, 3)}
    network = read_onnx(model(nodes, {"x": (1, 1, length)}, constants))
    assert "one by one" in network.node("turn").opaque


class Chosen(nn.Module):
    """A convolution, a choice of places, a convolution."""

    def __init__(self, choose: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.before, self.after = nn.Conv1d(2, 3, 3, padding=1), nn.Conv1d(3, 2, 2)
        self.choose = choose

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.choose(self.before(x)))


STORED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "reversed": lambda x: x.flip(-1),
    "channels reversed": lambda x: x.flip(1),
    "twice reversed": lambda x: (x.flip(-1).relu() + x).flip([2, 1]),
    "some": lambda x: x[:, :, [4, 1, 7, 7, 0]],
    "selected": lambda x: x.index_select(2, torch.tensor([8, 3, 3])),
    "a table": lambda x: x[:, :, [[4, 1], [7, 0]]].flatten(2),
    "rolled": lambda x: x[:, :, [*range(3, N), 0, 1, 2]],
}


@pytest.mark.parametrize("name", STORED)
def test_stored_places_of_modules_are_followed(name: str) -> None:
    torch.manual_seed(0)
    module = Chosen(STORED[name]).eval()
    assert_reads_by_change(module, (1, 2, N))


COMPUTED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gathered": lambda x: x.gather(2, x.argmax(1, keepdim=True).expand(-1, 3, -1)),
    "along": lambda x: torch.take_along_dim(x, x.argsort(-1), -1),
    "the best": lambda x: x.topk(4, -1)[0],
    "indexed": lambda x: x[:, :, x.argmax(1)[0]],
    "scattered": lambda x: x.scatter(2, x.argmax(2, keepdim=True), x.amax(2, keepdim=True) * 2),
    "added": lambda x: x.scatter_add(2, x.argmax(1, keepdim=True).expand_as(x), x),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_places_of_modules_are_read_all_along_their_dimension(name: str) -> None:
    torch.manual_seed(0)
    module = Chosen(COMPUTED[name]).eval().double()
    report = atrous.inspect(module, torch.zeros(1, 2, N).double())
    assert report.complete, report.opaque
    assert report.outputs[0].is_global
    x = torch.randn(1, 2, N, dtype=torch.float64)
    positions = report.network.tensor(report.outputs[0].tensor).grid
    masks = [
        report.footprint(at=at if positions else None).mask
        for at in range(report.outputs[0].output_shape[-1])
    ]
    with torch.no_grad():
        base = module(x)
        for place, size in product(range(N), (0.3, -2.0, 5.0)):
            other = x.clone()
            other[..., place] += size
            for at in (module(other) != base).any(1)[0].nonzero().flatten().tolist():
                assert masks[at][place]


def test_more_of_the_best_than_there_are_is_refused() -> None:
    node = helper.make_node("TopK", ["u", "many"], ["v", "places"], axis=2)
    with pytest.raises(atrous.ReadError, match=f"keeps the best 99 of {N} along dimension 2"):
        read_onnx(chain_of(node, many=ints(99)))


def borders(lo: int, hi: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A reflection spelled as borders laid backwards around the map."""
    return lambda x: torch.cat([x[..., 1 : lo + 1].flip(-1), x, x[..., -hi - 1 : -1].flip(-1)], -1)


SPELLED: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "reflected": (borders(3, 2), "reflect"),
    "replicated": (lambda x: torch.cat([x[..., :1], x, x[..., -1:]], -1), "replicate"),
    "repeated": (lambda x: torch.cat([x[..., [0, 0, 0]], x, x[..., [-1, -1]]], -1), "replicate"),
    "in front": (lambda x: torch.cat([x[..., 1:5].flip(-1), x], -1), "reflect"),
}


@pytest.mark.parametrize("name", SPELLED)
def test_a_padding_that_is_spelled_is_one(name: str) -> None:
    choose, mode = SPELLED[name]
    torch.manual_seed(0)
    module = Chosen(choose).eval()
    report = assert_reads_by_change(module, (1, 2, N))
    assert not report.outputs[0].is_global
    assert report.outputs[0].field[0].size == 4
    pads = [layer.node.op for layer in report.layers if layer.op == "pad"]
    assert [op.mode for op in pads] == [mode]


def test_a_reflection_that_a_file_spells_is_one_and_converts_or_says_why() -> None:
    nodes = [
        helper.make_node("Slice", ["u", "one", "four", "two"], ["a"]),
        helper.make_node("Slice", ["a", "last", "end", "two", "last"], ["b"]),
        helper.make_node("Concat", ["b", "u"], ["v"], axis=2),
    ]
    given = {"one": ints(1), "four": ints(4), "two": ints(2), "last": ints(-1), "end": ints(END)}
    network = assert_reads_agree(chain(*nodes, **given))
    assert not atrous.inspect(network).outputs[0].is_global
    first = helper.make_node("Conv", ["x", "w"], ["u"], pads=[1, 1], strides=[2], name="conv")
    made = {"w": weights(4, 4, 3), **given}
    proto = model([first, *nodes, LAST], {"x": (1, 4, 24)}, made)
    with contextlib.suppress(atrous.ConversionError):
        assert atrous.convert(proto, 1).certificate.verdict in ("exact", "interior")
