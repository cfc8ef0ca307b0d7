"""`audit_stream`: what somebody else's chunking makes of a clip, beside the offline run."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from atrous.certification.stream_audit import StreamAudit, changes, streamed_output
from atrous.certification.tile_audit import Looks
from atrous.errors import ArgumentError, AtrousError
from atrous.plan.stream import StreamPlan
from atrous.progress import step
from atrous.readers.given import is_shape, shapes_of
from atrous.readers.kind import kind_of, source_name
from atrous.readers.source import made_of
from atrous.runners.tiled.whole import arrays_of, changed_from, drawn, run_whole
from atrous.verbs.audit_tiles import several
from atrous.verbs.plan_stream import plan_stream

__all__ = ["audit_stream"]


def audit_stream(
    model: Any, chunked: Callable[..., Any], *, input: Any, axis: str | int | None = None
) -> StreamAudit:
    """What `chunked`, a function of the whole clip, makes of it beside what the offline run gives.

    `model` is a PyTorch module, an `.onnx` file or a function, `chunked` runs it piece by piece in
    any way and returns the pieces joined. `input` is a clip, a tuple of several inputs, or a shape,
    for which a model draws random numbers; `axis` says which of its axes is time, where it has
    several. The chunking is also called a few times with parts of the clip changed, which shows
    where its chunks begin.

    The result names the first position that differs, how many positions are lost or doubled and
    how far apart, and around the edges of chunks how much context before and behind is lacking,
    beside what the network needs where it is read.

    >>> import atrous, torch
    >>> model = torch.nn.Conv1d(1, 1, 9, padding=4).double()
    >>> def guessed(x, left=2, right=4):
    ...     parts = []
    ...     for a in range(0, x.shape[-1], 50):
    ...         low = max(a - left, 0)
    ...         parts.append(model(x[..., low : a + 50 + right])[..., a - low :][..., :50])
    ...     return torch.cat(parts, -1)
    >>> found = atrous.audit_stream(model, guessed, input=torch.rand(1, 1, 400).double())
    >>> output = found.outputs[0]
    >>> found.verdict, output.first, output.seams.seams[:2], output.seams.lacks, found.left
    ('approximate', 50, (50, 100), (2, 0), 4)
    """
    if not callable(chunked):
        raise ArgumentError(
            f"chunked is a {type(chunked).__name__}; give a function of the whole clip."
        )
    if kind_of(model) in ("network", "zoo", "stack"):
        raise ArgumentError(
            f"{source_name(model)}: it has no weights, so nothing runs it; give a PyTorch module, "
            "an .onnx file or a function."
        )
    whole, _ = made_of(model) if kind_of(model) == "library" else (model, None)
    plan, notes = _planned_stream(whole, input, axis)
    if not is_shape(input):
        clips = several(input)
    elif kind_of(whole) not in ("module", "file", "message"):
        raise ArgumentError(
            f"input={tuple(input)} is a shape, and a function does not say what it takes; give a "
            "clip."
        )
    else:
        clips = drawn(whole, shapes_of(input))
    step("running the whole clip")
    made = run_whole(whole, clips)
    step("running it in chunks")

    def run(*given: Any) -> list[Any]:
        return arrays_of(chunked(*given))

    found = run(*clips)
    if len(made) != len(found):
        raise ArgumentError(
            f"the offline run gives {len(made)} outputs and the chunking {len(found)}; give one "
            "that returns the same."
        )
    times = _times_of(plan, clips, axis)
    outputs = []
    for index, (one, other) in enumerate(zip(made, found, strict=True)):
        known = plan.outputs[index] if plan is not None and index < len(plan.outputs) else None
        time = known.time if known is not None else one.ndim - 1
        name = known.name if known is not None else f"output {index}"
        rest = [n for d, n in enumerate(one.shape) if d != time]
        if one.ndim != other.ndim or rest != [n for d, n in enumerate(other.shape) if d != time]:
            raise ArgumentError(
                f"{name}: the offline run gives {one.shape} and the chunking {other.shape}; they "
                "may differ along time alone."
            )
        clip = clips[0].shape[times[0]] if 0 in times else one.shape[time]
        stride = known.stride if known is not None else Fraction(clip, max(one.shape[time], 1))
        halo = None if plan is None or plan.past is None else (plan.past, plan.lookahead)
        axis_name = "t" if plan is None else plan.axis
        probe = changes(run, clips, times, index, time, changed_from) if halo else None
        looks = Looks(axis_name, stride, halo)
        outputs.append(streamed_output(name, one, other, time, looks, probe))
    carried = plan is not None and bool(plan.carries)
    name = source_name(model) if plan is not None else getattr(model, "__name__", "function")
    return StreamAudit(
        name,
        "t" if plan is None else plan.axis,
        tuple(outputs),
        None if plan is None or carried else plan.left,
        None if plan is None else plan.lookahead,
        None if plan is None else plan.hop,
        None if plan is None else plan.latency,
        () if plan is None else plan.carries,
        notes,
    )


def _planned_stream(
    whole: Any, input: Any, axis: str | int | None
) -> tuple[StreamPlan | None, tuple[str, ...]]:
    """The plan of a model, by which its context is known; None and why for what has none."""
    if kind_of(whole) not in ("module", "program", "file", "message"):
        return None, ("the offline run is a function, so the context that it needs is not known",)
    shapes = shapes_of(input) if is_shape(input) else tuple(tuple(x.shape) for x in several(input))
    try:
        return plan_stream(whole, shapes[0] if len(shapes) == 1 else shapes, axis=axis), ()
    except ArgumentError:
        raise
    except AtrousError as error:
        return None, (f"no stream gives what the clip gives: {error}",)


def _times_of(
    plan: StreamPlan | None, clips: tuple[Any, ...], axis: str | int | None
) -> dict[int, int]:
    """Which dimension of each input is time."""
    if plan is not None:
        return {i: one.time for i, one in enumerate(plan.inputs) if one.time is not None}
    dim = axis if isinstance(axis, int) else -1
    return {i: dim % len(one.shape) for i, one in enumerate(clips) if len(one.shape)}
