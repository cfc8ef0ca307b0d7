"""Plans of streams against the models themselves: what is known after how many samples."""

from __future__ import annotations

import random
from fractions import Fraction
from functools import cache
from zlib import crc32

import pytest
import torch
from torch import nn

import atrous
from atrous.plan.stream import StreamPlan
from tests.streamed import assert_streams
from tests.streamed_networks import LIBRARY, MIXING, NETWORKS, RUNNING, Layout, random_graph

GRAPHS = {f"graph {seed}": random_graph(seed) for seed in range(2, 8)}
ALL = {**NETWORKS, **RUNNING, **GRAPHS}
CARRYING = ("EnCodec encoder", "EnCodec decoder", "Demucs with an LSTM", "GRU", *RUNNING)
FADING = {"BigVGAN"}
"""Through many filters whose ends are small, what lies farthest off is lost in rounding."""
BATCH = 32
"""Clips that are run at once, each known up to another sample."""


@cache
def planned(name: str) -> tuple[nn.Module, StreamPlan]:
    layout = ALL[name]
    model = layout.model()
    return model, atrous.plan_stream(model, layout.shape, axis=layout.time)


def clip_of(layout: Layout, length: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = layout.shape if length is None else layout.resized(length)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def run(model: nn.Module, clip: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        made = model(clip)
    assert torch.is_tensor(made)
    return made


def first_other(other: torch.Tensor, time: int) -> list[int]:
    """For each clip of a batch the first position at which anything is other."""
    rows = other.movedim(time, -1).reshape(len(other), -1, other.shape[time]).any(1)
    return [int(row.nonzero()[0]) if row.any() else len(row) for row in rows]


def known_after(
    model: nn.Module, layout: Layout, samples: list[int], time: int
) -> tuple[list[int], list[int]]:
    """How many outputs what comes after so many samples cannot reach, and how many it leaves alone.

    The first by NaN, which goes through everything; the second by other numbers, which an
    activation may swallow, but which do not count where they are multiplied by 0.
    """
    clip = clip_of(layout)
    batch = clip.repeat(len(samples), *[1] * (clip.dim() - 1)).movedim(layout.time, -1)
    whole = run(model, batch.movedim(-1, layout.time))
    left = [10**9] * len(samples)
    generator = torch.Generator().manual_seed(2)
    for scale in (1.0, 10.0, float("nan")):
        for row, count in zip(batch, samples, strict=True):
            row[..., count:] = scale * torch.randn(row[..., count:].shape, generator=generator)
        made = run(model, batch.movedim(-1, layout.time))
        if scale == scale:
            found = first_other(whole != made, time)
            left = [min(pair) for pair in zip(left, found, strict=True)]
    return first_other(made.isnan(), time), left


def assert_outputs_are_known_as_the_plan_says(name: str) -> None:
    """After some samples, whatever comes next, just those outputs are fixed."""
    layout, rng = ALL[name], random.Random(crc32(name.encode()))
    model, plan = planned(name)
    output = plan.outputs[0]
    early = range(1, min(layout.length, 40))
    samples = {*early, *(rng.randrange(1, layout.length) for _ in range(BATCH))}
    samples = sorted(rng.sample(sorted(samples), min(BATCH, len(samples))))
    length = output.length(layout.length)
    assert length is not None
    reached, left = known_after(model, layout, samples, output.time)
    for n, low, high in zip(samples, reached, left, strict=True):
        # All of them where what is left of the clip is read by none.
        assert output.after(n) in (low, high) or low == length, (n, low, high)


def assert_an_impulse_finds_the_latency(name: str) -> None:
    """Changed from a sample on, no output changes that lies further back, and one does there."""
    layout = ALL[name]
    model, plan = planned(name)
    output = plan.outputs[0]
    start = layout.length // 2 // plan.hop * plan.hop if output.latency == output.usual else 0
    samples = list(range(start, min(start + max(plan.hop, 64), layout.length)))
    reached, left = known_after(model, layout, samples, output.time)
    # Changed from sample `n` on, outputs change from the first on that waits for it.
    for first in (reached, left):
        found = [n - low * output.stride for n, low in zip(samples, first, strict=True)]
        if max(found) == output.latency:
            return
    raise AssertionError(f"{max(found)} is found where {output.latency} is said")


def assert_clips_have_the_lengths_of_the_plan(name: str) -> None:
    """A clip of any length has as many outputs as the plan says."""
    layout, rng = ALL[name], random.Random(crc32(name.encode()))
    model, plan = planned(name)
    for _ in range(4):
        length = rng.randrange(layout.least, layout.length)
        if name == "attention in blocks":
            length -= length % 8
        made = run(model, clip_of(layout, length))
        assert plan.flushed(length) == (made.shape[plan.outputs[0].time],)


def in_chunks(
    model: nn.Module, clip: torch.Tensor, plan: StreamPlan, chunk: int, less: tuple[int, int]
) -> torch.Tensor:
    """The clip chunk by chunk, each with the context that the plan says, less so much of it."""
    context = plan.context(chunk)
    time, last = plan.inputs[0].time, plan.outputs[0].time
    assert time is not None
    length, parts = clip.shape[time], []
    for cut in context.cuts(length):
        low = min(cut.read.start + less[0], length) if cut.read.start else 0
        high = cut.read.stop - (less[1] if cut.read.stop < length else 0)
        made = run(model, clip.movedim(time, 0)[low:high].movedim(0, time)).movedim(last, 0)
        off = int((low - cut.read.start) / plan.outputs[0].stride)
        keep = cut.keep[0]
        parts.append(made[keep.start - off : None if keep.stop is None else keep.stop - off])
    return torch.cat(parts).movedim(0, last)


def assert_the_context_is_enough_and_no_less(name: str) -> None:
    """Chunks with the context are the clip, and with a little less they are not."""
    layout, rng = ALL[name], random.Random(crc32(name.encode()))
    model, plan = planned(name)
    room = layout.length // 4 // plan.hop
    chunk = rng.randint(max(room // 2, 1), max(room, 1)) * plan.hop
    length = 2 * layout.length
    length += 0 if name == "attention in blocks" else rng.randrange(9)
    clip = clip_of(layout, length)
    whole = run(model, clip)
    found = in_chunks(model, clip, plan, chunk, (0, 0))
    assert found.shape == whole.shape
    scale = float(whole.abs().max())
    assert float((found - whole).abs().max()) <= 1e-12 * scale
    context = plan.context(chunk)
    sides = [(plan.hop, 0)] if context.left else []
    if name in FADING:
        return
    if context.right and name != "attention in blocks":
        sides.append((0, 1))
    for less in sides:
        try:
            worse = in_chunks(model, clip, plan, chunk, less)
        except RuntimeError:  # no window fits into what is left
            continue
        assert worse.shape != whole.shape or float((worse - whole).abs().max()) > 1e-12 * scale


def assert_no_context_is_long_enough(name: str) -> None:
    """Where a layer carries all of the past on."""
    _, plan = planned(name)
    assert plan.past is None
    assert plan.carries
    with pytest.raises(atrous.UnsupportedError, match="carries all of the past on"):
        plan.context(plan.hop)


def assert_it_streams_as_it_runs_whole(name: str) -> None:
    """In chunks of any lengths the clip is what the whole clip is, with the plan's latency."""
    layout = ALL[name]
    model, plan = planned(name)
    lengths = [layout.length + (8 if "blocks" in name else 7)]
    live = assert_streams(model, layout.shape, lengths, axis=layout.time, chunkings=1)
    assert (plan.latency, plan.hop) == (live.latency, live.hop)


# One test a layout: each is planned once, whichever worker has it.
@pytest.mark.parametrize("name", ALL)
def test_a_plan_is_what_the_model_does_and_a_stream_gives_the_same(name: str) -> None:
    assert_outputs_are_known_as_the_plan_says(name)
    assert_an_impulse_finds_the_latency(name)
    assert_clips_have_the_lengths_of_the_plan(name)
    plan = planned(name)[1]
    assert 0 < plan.least_bytes <= plan.state_bytes
    if name in CARRYING:
        assert_no_context_is_long_enough(name)
    else:
        assert_the_context_is_enough_and_no_less(name)
    if name not in GRAPHS:
        assert_it_streams_as_it_runs_whole(name)


@pytest.mark.parametrize("name", MIXING)
def test_a_layer_that_sees_the_whole_clip_is_named(name: str) -> None:
    layout = MIXING[name]
    with pytest.raises(atrous.UnsupportedError) as refused:
        atrous.plan_stream(layout.model(), layout.shape)
    assert str(refused.value).partition(":")[0].startswith(layout.mixes)
    assert "lets all positions see one another along t" in str(refused.value)


@pytest.mark.parametrize("name", LIBRARY)
def test_the_classes_of_a_library_are_planned(name: str) -> None:
    layout = LIBRARY[name]
    try:
        model = layout.model()
    except ImportError as error:
        pytest.skip(f"transformers does not import: {error}")
    plan = atrous.plan_stream(model, layout.shape)
    with torch.no_grad():
        made = model(clip_of(layout, layout.length - 5))
    made = made if isinstance(made, torch.Tensor) else made[0]
    assert plan.flushed(layout.length - 5) == (made.shape[-1],)
    assert plan.causal == any(one in name for one in ("EnCodec", "Mimi"))
    assert plan.latency >= Fraction(0)


@pytest.mark.parametrize("name", ["HiFi-GAN", "EnCodec decoder", "Wave-U-Net, causal", "graph 4"])
def test_a_stream_yields_after_each_chunk_what_its_plan_says(name: str) -> None:
    layout, rng = ALL[name], random.Random(crc32(name.encode()))
    model, plan = planned(name)
    live = atrous.stream(model, layout.shape, axis=layout.time)
    output, clip, pushed, made, kept = plan.outputs[0], clip_of(layout), 0, 0, 0
    while pushed < layout.length:
        count = min(rng.choice((1, 1, 2, 5, plan.hop, 3 * plan.hop)), layout.length - pushed)
        made += live.push(clip.narrow(layout.time, pushed, count)).shape[output.time]
        pushed += count
        assert made == output.after(pushed)
        kept = max(kept, live.state.nbytes)
    if name in ("HiFi-GAN", "EnCodec decoder"):
        assert kept == plan.state_bytes
    assert made + live.flush().shape[output.time] == output.length(layout.length)
    assert (live.hop, live.latency) == (plan.hop, plan.latency)
    assert (live.plan.hop, live.plan.latency) == (plan.hop, plan.latency)
