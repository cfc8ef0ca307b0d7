"""Sound in blocks, from files and pipes and back: WAV and its kin, `.npy`, raw float32."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ArgumentError, MissingDependencyError, ReadError

__all__ = ["SoundSink", "SoundSource", "sound_sink", "sound_source"]

Block = NDArray[Any]
"""Channels, then samples."""

_RAW = (".raw", ".f32")


class SoundSource(Protocol):
    """Samples that come in blocks; `length` and `rate` are None where nothing says them."""

    channels: int
    length: int | None
    rate: Fraction | None

    def blocks(self, size: int) -> Iterator[Block]:
        """Blocks of so many samples; the last may be shorter."""


class SoundSink(Protocol):
    """Where blocks go."""

    def write(self, block: Block) -> None:
        """Appends a block."""

    def __enter__(self) -> SoundSink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None: ...


def sound_source(place: str, channels: int | None = None) -> SoundSource:
    """What is read: `-` is raw float32 from standard input, channels interleaved.

    Raises `ReadError` for what is no sound, `MissingDependencyError` without soundfile.
    """
    kind = Path(place).suffix.lower()
    if place == "-":
        return _RawSource(None, channels or 1)
    if not Path(place).is_file():
        raise ReadError(f"{place}: no such file.")
    if kind in _RAW:
        return _RawSource(Path(place), channels or 1)
    return _ArraySource(place) if kind == ".npy" else _FileSource(place)


def sound_sink(place: str, rate: Fraction | None, channels: int) -> SoundSink:
    """What is written: `-` is raw float32 to standard output, channels interleaved."""
    kind = Path(place).suffix.lower()
    if place == "-":
        return _RawSink(_standard_output())
    if kind in _RAW:
        return _RawSink(Path(place).open("wb"))
    if kind == ".npy":
        return _ArraySink(place)
    if rate is None:
        raise ArgumentError(f"{place}: a sound file has a rate; give that of the input, --rate.")
    return _FileSink(place, round(rate), channels)


def _standard_output() -> BinaryIO:
    """That of the process, also while what others print goes elsewhere."""
    assert sys.__stdout__ is not None
    return cast("BinaryIO", sys.__stdout__.buffer)


def _library() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"sound files need soundfile, which does not import ({error}): pip install "
            "atrous[sound]"
        ) from None
    return soundfile


class _RawSource:
    def __init__(self, path: Path | None, channels: int) -> None:
        self.path, self.channels = path, channels
        self.length: int | None = None
        self.rate: Fraction | None = None

    def blocks(self, size: int) -> Iterator[Block]:
        if self.path is None:
            yield from self._read(sys.stdin.buffer, size)
            return
        with self.path.open("rb") as stream:
            yield from self._read(stream, size)

    def _read(self, stream: BinaryIO, size: int) -> Iterator[Block]:
        width = 4 * self.channels
        while data := stream.read(size * width):
            if len(data) % width:
                raise ReadError(
                    f"raw sound ends in the middle of a sample of {self.channels} channels in "
                    "float32."
                )
            yield np.frombuffer(data, "<f4").reshape(-1, self.channels).T


class _ArraySource:
    def __init__(self, place: str) -> None:
        try:
            found = np.load(place, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise ReadError(f"{place}: is no array: {error}") from None
        if found.ndim == 3 and found.shape[0] == 1:
            found = found[0]
        if found.ndim not in (1, 2) or found.dtype.kind not in "fiu":
            raise ReadError(
                f"{place}: holds {found.dtype} of shape {found.shape}; give channels and samples."
            )
        self.array = found.reshape(1, -1) if found.ndim == 1 else found
        self.channels: int = self.array.shape[0]
        self.length: int | None = self.array.shape[1]
        self.rate: Fraction | None = None

    def blocks(self, size: int) -> Iterator[Block]:
        for start in range(0, self.array.shape[1], size):
            yield np.array(self.array[:, start : start + size])


class _FileSource:
    def __init__(self, place: str) -> None:
        library = _library()
        try:
            said = library.info(place)
        except (RuntimeError, TypeError) as error:
            raise ReadError(f"{place}: is no sound that can be read: {error}") from None
        self.place = place
        self.channels: int = said.channels
        self.length: int | None = said.frames
        self.rate: Fraction | None = Fraction(said.samplerate)

    def blocks(self, size: int) -> Iterator[Block]:
        with _library().SoundFile(self.place) as file:
            for block in file.blocks(size, dtype="float32", always_2d=True):
                yield block.T


class _RawSink:
    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def write(self, block: Block) -> None:
        self.stream.write(np.ascontiguousarray(block.T, "<f4").tobytes())

    def __enter__(self) -> SoundSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.flush()
        if self.stream is not _standard_output():
            self.stream.close()


class _ArraySink:
    def __init__(self, place: str) -> None:
        self.place = place
        self.parts: list[Block] = []

    def write(self, block: Block) -> None:
        self.parts.append(np.array(block))

    def __enter__(self) -> SoundSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.parts:
            np.save(self.place, np.concatenate(self.parts, -1))


class _FileSink:
    def __init__(self, place: str, rate: int, channels: int) -> None:
        # What WAV holds in float is as it was made; other kinds take their usual numbers.
        exact = {"subtype": "FLOAT"} if Path(place).suffix.lower() == ".wav" else {}
        try:
            self.file = _library().SoundFile(place, "w", rate, channels, **exact)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ArgumentError(f"{place}: cannot be written: {error}") from None

    def write(self, block: Block) -> None:
        self.file.write(np.ascontiguousarray(block.T, np.float32))

    def __enter__(self) -> SoundSink:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
