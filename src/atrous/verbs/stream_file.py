"""`stream_file`: a model live on sound from a file or a pipe, block by block, and its times."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from atrous.certification.stream_run import StreamRun
from atrous.errors import ArgumentError
from atrous.readers.kind import kind_of, source_name
from atrous.readers.source import made_of
from atrous.runners.sound import SoundSink, sound_sink, sound_source
from atrous.runners.tiled.whole import arrays_of, run_whole
from atrous.shown import how_many

__all__ = ["stream_file"]

_USUAL = 1 << 14
"""Samples of the clip that a model is recorded at, where the source is longer or does not say."""


def stream_file(
    model: Any,
    source: str,
    target: str,
    *,
    block: int = 256,
    input: Any = None,
    rate: Fraction | None = None,
    channels: int | None = None,
    check: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> StreamRun:
    """Pushes a sound through a stream of the model in blocks of so many samples, and times each.

    `source` and `target` are sound files, `.npy` arrays of channels and samples, raw float32
    (`.raw`, or `-` for standard input and output). `input` is the shape of a clip, where it is not
    `(1, channels, samples)`; `rate` is that of the source where it has none. With `check` all is
    also run at once, and the largest difference is in the result.
    """
    from atrous.verbs.stream import stream

    if block < 1:
        raise ArgumentError(f"block={block} holds no sample; give 1 or more.")
    read, written = Path(source), Path(target)
    if read.is_file() and written.is_file() and read.samefile(written):
        raise ArgumentError(f"{target}: is what is read; write to another file.")
    opened = sound_source(source, channels)
    made, _ = made_of(model) if kind_of(model) == "library" else (model, None)
    shape = tuple(input or _clip_of(made, opened.channels, min(opened.length or _USUAL, _USUAL)))
    if prod(shape[:-1]) != opened.channels:
        raise ArgumentError(
            f"{source_name(model)}: it takes {shape[:-1]} numbers at a time, and {source} has "
            f"{how_many(opened.channels, 'channel')}."
        )
    if check and opened.length:
        _check_length(made, (*shape[:-1], opened.length))
    live = stream(made, shape, axis=len(shape) - 1)
    rate = opened.rate or rate
    dtype = _dtype_of(live)
    times: list[float] = []
    kept: list[Any] = []
    done = [0, 0]
    with ExitStack() as held:
        sink: list[SoundSink] = []

        def put(found: Any) -> None:
            array, *more = arrays_of(found)
            if more:
                raise ArgumentError(
                    f"{source_name(model)}: it gives {how_many(1 + len(more), 'output')}, and a "
                    "sound holds one; let it return the one to write."
                )
            if array.dtype.kind == "c":
                raise ArgumentError(
                    f"{source_name(model)}: it makes complex numbers, which no sound has; let it "
                    "return its real numbers."
                )
            # Nothing may be certain yet, which -1 stands for in no shape.
            array = array.reshape(prod(array.shape[:-1]), array.shape[-1])
            if not sink:
                to = None if rate is None else rate / live.stride
                sink.append(held.enter_context(sound_sink(target, to, len(array))))
            sink[0].write(array)
            done[1] += array.shape[1]
            if check:
                kept.append(array)

        clip = []
        for samples in opened.blocks(block):
            if dtype.kind in "iu" and samples.dtype.kind not in "iu":
                raise ArgumentError(
                    f"{source_name(model)}: it takes whole numbers, and {source} holds "
                    f"{samples.dtype}; give an .npy of whole ones."
                )
            given = np.ascontiguousarray(samples, dtype).reshape(*shape[:-1], -1)
            begin = perf_counter()
            found = live.push(given)
            times.append(perf_counter() - begin)
            done[0] += given.shape[-1]
            put(found)
            if check:
                clip.append(given)
            if progress is not None and opened.length:
                progress(f"{done[0]:,} of {opened.length:,} samples", done[0] / opened.length)
        begin = perf_counter()
        found = live.flush()
        flushed = perf_counter() - begin
        put(found)
    error = _error(made, clip, kept) if check and clip else None
    return StreamRun(
        source_name(model),
        done[0],
        done[1],
        block,
        len(times),
        rate,
        live.latency,
        live.hop,
        sum(times) + flushed,
        1000 * (times[0] if times else 0.0),
        1000 * max(times[1:], default=0.0),
        error,
        None if error is None else 80 * float(np.finfo(dtype if dtype.kind == "f" else "f4").eps),
    )


def _clip_of(model: Any, channels: int, samples: int) -> tuple[int, ...]:
    """The shape of a clip that a model takes: what a file says, else channels of samples."""
    if kind_of(model) not in ("file", "message"):
        return (1, channels, samples)
    from atrous.runners.onnx_sizes import SizedFile

    file = SizedFile(model)
    shape = (1,) * max((file.rank or 3) - 2, 0)
    shape = (*shape, channels, samples)
    return file.own((shape,))[0]


def _check_length(model: Any, shape: tuple[int, ...]) -> None:
    """Raises `ArgumentError` for a file that is made for another length than a clip has."""
    if kind_of(model) not in ("file", "message"):
        return
    from atrous.runners.onnx_sizes import SizedFile

    own = SizedFile(model).own((shape,))[0]
    if len(own) == len(shape) and own[-1] != shape[-1]:
        raise ArgumentError(
            f"{source_name(model)}: to check it, it is run on all at once, and it is made for "
            f"{how_many(own[-1], 'sample')} alone, not for {shape[-1]:,}; leave the check out."
        )


def _dtype_of(live: Any) -> Any:
    """What numbers a stream takes."""
    name = str(live.dtype).rpartition(".")[2]
    return np.dtype("float32" if name == "bfloat16" else name)


def _error(made: Any, clip: list[Any], kept: list[Any]) -> float:
    """The largest difference from the offline run, beside its largest value; infinite where lengths
    differ."""
    whole = run_whole(made, [np.concatenate(clip, -1)])[0]
    whole = whole.reshape(-1, whole.shape[-1])
    found = np.concatenate(kept, -1)
    if whole.shape != found.shape:
        return float("inf")
    both = np.isfinite(whole) & np.isfinite(found)
    if (both != (np.isfinite(whole) | np.isfinite(found))).any():
        return float("inf")
    off = np.abs(whole[both].astype(np.float64) - found[both])
    scale = float(np.abs(whole[both]).max(initial=0.0))
    largest = float(off.max(initial=0.0))
    return largest / scale if scale else largest
