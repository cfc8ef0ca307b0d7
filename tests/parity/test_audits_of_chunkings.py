"""Chunkings of all kinds against offline runs: what `audit_stream` finds is what was put in."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import atrous
from tests.streamed_networks import NETWORKS


def net(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*layers).double().eval()


SMALL = net(nn.Conv1d(1, 4, 5, padding=2), nn.Tanh(), nn.Conv1d(4, 1, 3, padding=4, dilation=4))
UP = net(nn.Conv1d(2, 4, 3, padding=1), nn.ConvTranspose1d(4, 1, 8, 4, 2))


def clip_of(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def chunks_of(model, left, right, size=50, factor=1, drop=0, twice=0):
    """A loop with a context that was guessed, which may drop or repeat the end of every chunk."""

    def run(x):
        parts, length = [], x.shape[-1]
        for start in range(0, length, size):
            low, high = max(start - left, 0), min(start + size + right, length)
            with torch.no_grad():
                made = model(x[..., low:high])
            skip = (start - low) * factor
            count = (min(start + size, length) - start) * factor
            part = made[..., skip : skip + count - drop]
            parts += [part, part[..., part.shape[-1] - twice :]] if twice else [part]
        return torch.cat(parts, -1)

    return run


def test_an_exact_chunking_is_exact():
    found = atrous.audit_stream(SMALL, chunks_of(SMALL, 6, 6), input=clip_of(1, 1, 400))
    assert (found.verdict, found.outputs[0].first, found.left, found.right) == ("exact", None, 6, 6)
    assert "at every position" in str(found)
    up = atrous.audit_stream(UP, chunks_of(UP, 2, 2, factor=4), input=(1, 2, 400))
    assert (up.verdict, up.outputs[0].lengths) == ("exact", (1600, 1600))


@pytest.mark.parametrize(("left", "right"), [(5, 6), (6, 5), (3, 6), (0, 2), (0, 0)])
def test_the_context_that_is_lacking_on_each_side_is_found(left, right):
    found = atrous.audit_stream(SMALL, chunks_of(SMALL, left, right), input=clip_of(1, 1, 400))
    output = found.outputs[0]
    assert found.verdict == "approximate"
    assert output.seams.lacks == (6 - left, 6 - right)
    assert output.seams.seams == tuple(range(50, 400, 50))
    assert output.first == (50 - (6 - right) if right < 6 else 50)
    assert (output.slips, output.lost, output.doubled) == ((), 0, 0)
    assert "needs       6 input samples before a chunk and 6 behind" in str(found)


@pytest.mark.parametrize("drop", [1, 3, 17])
def test_the_tail_that_every_chunk_drops_is_counted(drop):
    chunked = chunks_of(UP, 2, 2, factor=4, drop=drop)
    found = atrous.audit_stream(UP, chunked, input=clip_of(1, 2, 400))
    output = found.outputs[0]
    assert found.verdict == "broken"
    assert output.lengths == (1600, 1600 - 8 * drop)
    assert [slip.lost for slip in output.slips] == [drop] * 7
    assert (output.lost, output.lost_at_end, output.every) == (8 * drop, drop, 200)
    assert output.first == 200 - drop
    assert output.first_input == (200 - drop) // 4
    assert f"{8 * drop} positions, {drop} at" in str(found)


def test_positions_that_are_put_out_twice_are_counted():
    found = atrous.audit_stream(SMALL, chunks_of(SMALL, 6, 6, twice=5), input=clip_of(1, 1, 400))
    output = found.outputs[0]
    assert [slip.lost for slip in output.slips] == [-5] * 7
    assert (output.doubled, output.lost, output.lost_at_end, output.first) == (40, 0, -5, 50)
    assert "too many" in str(found)


def test_an_end_that_is_never_flushed_is_what_is_lost():
    found = atrous.audit_stream(SMALL, lambda x: SMALL(x)[..., :-6].detach(), input=(1, 1, 400))
    output = found.outputs[0]
    assert (output.first, output.lost, output.lost_at_end, output.slips) == (394, 6, 6, ())
    assert "6 positions at the end" in str(found)


def test_a_state_that_begins_anew_with_every_chunk_is_named():
    layout = NETWORKS["GRU"]
    model = layout.model()
    found = atrous.audit_stream(model, chunks_of(model, 0, 0, size=64), input=clip_of(1, 1, 640))
    assert found.verdict != "exact"
    assert 56 <= found.outputs[0].first <= 64
    assert (found.left, found.carries) == (None, ("2.layer", "4.layer"))
    assert "the state of 2.layer, 4.layer, kept from" in str(found)


def test_a_norm_over_the_clip_is_said_to_fit_no_chunking():
    model = net(nn.Conv1d(1, 3, 3, padding=1), nn.InstanceNorm1d(3))
    found = atrous.audit_stream(model, chunks_of(model, 9, 9), input=clip_of(1, 1, 400))
    assert (found.verdict, found.left) == ("broken", None)
    assert "1: lets all positions see one another" in found.notes[0]


def test_chunks_of_a_guessed_context_around_a_vocoder():
    layout = NETWORKS["HiFi-GAN"]
    model = layout.model()
    plan = atrous.plan_stream(model, layout.shape)
    context = plan.context(10)
    right = chunks_of(model, context.left, context.right, size=10, factor=8)
    clip = clip_of(*layout.resized(80))
    assert atrous.audit_stream(model, right, input=clip).verdict == "exact"
    less = chunks_of(model, context.left - 6, context.right, size=10, factor=8)
    found = atrous.audit_stream(model, less, input=clip)
    assert (found.verdict, found.outputs[0].first) == ("approximate", 80)
    assert found.outputs[0].seams.lacks[0] >= 1
    assert json.loads(found.to_json())["needs"] == {"left": 11, "right": 11, "hop": 1}


def test_functions_and_streams_along_other_dimensions_are_compared():
    found = atrous.audit_stream(
        lambda x: x * 2, lambda x: x[..., :-1] * 2, input=torch.rand(1, 1, 50).double()
    )
    assert (found.outputs[0].lost_at_end, found.left) == (1, None)
    assert "the context that it needs is not known" in found.notes[0]
    layout = NETWORKS["keywords, frames as rows"]
    model = layout.model()

    def by_rows(x):
        return torch.cat([model(part) for part in x.split(24, 2)], -1).detach()

    found = atrous.audit_stream(model, by_rows, input=layout.shape, axis=2)
    # It reads further back than a chunk is long.
    assert (found.axis, found.verdict, found.outputs[0].first) == ("h", "broken", 12)


@pytest.mark.parametrize(
    ("model", "chunked", "clip", "says"),
    [
        (SMALL, 3, (1, 1, 50), "chunked is a int; give a function"),
        ("stack:k3", len, (1, 1, 50), "has no weights"),
        (len, len, (1, 1, 50), "is a shape, and a function does not say"),
        (SMALL, lambda x: (x, x), (1, 1, 50), "gives 1 outputs and the chunking 2"),
        (SMALL, lambda x: x[0], (1, 1, 50), "may differ along time alone"),
    ],
)
def test_what_cannot_be_compared_is_one_line(model, chunked, clip, says):
    with pytest.raises(atrous.ArgumentError, match=says):
        atrous.audit_stream(model, chunked, input=clip)
