"""Graphs in which tensors are written to compute the same once every value keeps its name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import atrous
from atrous.frameworks.functional import functional
from atrous.frameworks.recording import recorded


def computed(model, x):
    """What the calls of the graph make when none of them writes to anything that is read later."""
    with torch.inference_mode():
        recording = recorded(model, (x,), {})
        assert functional(recording.graph)
        held = {}
        for node in recording.graph.nodes:
            if node.op == "placeholder":
                stored = recording.stored.get(node.name)
                held[node] = (x if stored is None else stored.tensor).clone()
            elif node.op == "call_function":
                # Copies: a write that anybody else could see would give another result.
                args = torch.fx.node.map_arg(node.args, lambda n: copied(held[n]))
                held[node] = node.target(*args, **node.kwargs)
        (outputs,) = recording.graph.output_node().args
        return [held[node] for node in outputs]


def copied(value):
    return value.clone() if isinstance(value, torch.Tensor) else [part.clone() for part in value]


class Written(nn.Module):
    def __init__(self, write):
        super().__init__()
        self.write = write

    def forward(self, x):
        y = x * 2
        return self.write(x, y)


def into_a_slice(x, y):
    y[:, 1:3] = x[:, :2] + 1
    return y


def into_a_slice_of_a_slice(x, y):
    rows = y[:, :3]
    rows[..., 1:] += x[:, :2]
    return y * 2, rows


def into_a_row_by_its_number(x, y):
    view = y.view(-1)
    y[0, 1] = 5 * x[0, 0]
    view[-2:].mul_(3)
    return y, view


def into_the_whole(x, y):
    head = y[:, :2]
    y.add_(x)
    return head + 1, y


def through_turned_views(x, y):
    turned = y.transpose(0, 1).permute(1, 0)
    flat = y.flatten()
    turned[:, ::1].add_(x)
    return flat, y.t()


def through_pieces(x, y):
    a, b, c = y.split([1, 2, 3], dim=1)
    b.zero_()
    b += x[:, :2]
    rows = y.unbind(0)
    rows[1].mul_(x[1])
    return a, c, y


def into_a_canvas(x, y):
    canvas = x.new_full((6, 8), 7.0)
    for i in range(3):
        canvas[i, : x.shape[1]].copy_(x[i])
    return canvas, y


def one_after_the_other(x, y):
    for i in range(4):
        y[:, i : i + 2] += y[:, i + 1 : i + 3] * x[:, :2]
    return y


def before_it_is_read_again(x, y):
    before = y + 0
    y[:] = x
    return before, y


WRITES = [
    into_a_slice,
    into_a_slice_of_a_slice,
    into_a_row_by_its_number,
    into_the_whole,
    through_turned_views,
    through_pieces,
    into_a_canvas,
    one_after_the_other,
    before_it_is_read_again,
]


@pytest.mark.parametrize("write", WRITES)
def test_what_is_written_is_read_wherever_the_code_reads_it(write):
    model = Written(write).eval()
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = model(x)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    made = computed(model, x)
    assert len(made) == len(wanted)
    for ours, theirs in zip(made, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("write", [into_a_slice, into_a_canvas, through_pieces])
def test_the_check_notices_a_graph_that_was_left_as_it_was(write):
    model = Written(write).eval()
    recording = recorded(model, (torch.ones(5, 6),), {})
    before = str(recording.graph)
    assert functional(recording.graph)
    assert str(recording.graph) != before


def test_a_write_to_what_is_not_read_again_changes_nothing():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU(inplace=True)).eval()
    recording = recorded(model, (torch.zeros(1, 1, 5, 5),), {})
    before = str(recording.graph)
    assert functional(recording.graph)
    assert str(recording.graph) == before


def test_a_write_to_a_widened_view_is_not_guessed():
    class Widened(nn.Module):
        def forward(self, x):
            y = x * 1
            wide = y.unsqueeze(0).expand(1, -1, -1)
            wide.add_(1)
            return y

    assert not functional(recorded(Widened(), (torch.zeros(2, 3),), {}).graph)
    assert atrous.inspect(Widened(), (2, 3)).outputs


def test_fields_go_through_what_is_written_row_by_row():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            canvas = x.new_zeros(x.shape[0], 1, 12, 12)
            for i in range(x.shape[0]):
                canvas[i, :, :9, 1:10].copy_(x[i])
            return self.conv(canvas)

    report = atrous.inspect(Rows(), (1, 1, 9, 9))
    assert report.complete, report.opaque
    assert [axis.size for axis in report.outputs[0].field] == [3, 3]
    assert [axis.start for axis in report.outputs[0].field] == [-1, -2]
