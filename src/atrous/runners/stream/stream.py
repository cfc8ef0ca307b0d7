"""A model as a stream: chunks of any length in, and what is certain by then out."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cached_property
from operator import index
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atrous.errors import ArgumentError, ArgumentTypeError, RunError, UnsupportedError
from atrous.plan.stream import StreamPlan
from atrous.refusal import Refusal
from atrous.runners.stream.state import StreamState
from atrous.shown import Shown, how_many

if TYPE_CHECKING:
    import torch

    from atrous.runners.stream.engine import Held, Steps
    from atrous.runners.stream.recipe import Recipe
    from atrous.runners.stream.slots import Slots

__all__ = ["Stream", "StreamState", "with_time"]


def with_time(shape: tuple[int, ...], axis: int) -> list[str]:
    """A shape with a word for its length."""
    return ["time" if d == axis else str(n) for d, n in enumerate(shape)]


class Stream(Shown):
    """A model live: `push` chunks of any length, and get what is certain by then.

    Together with what `flush` gives, the pushes' results are what the model makes of the whole
    input, to the last sample. See `atrous.stream`.
    """

    def __init__(
        self,
        recipe: Recipe,
        plan: Callable[[], StreamPlan],
        engine: Literal["native", "torch"] | None = None,
    ) -> None:
        # Here alone: the name is public, also where PyTorch is not installed.
        from atrous.runners.stream.engine import Steps
        from atrous.runners.stream.native.engine import NativeSteps, native_steps

        self._recipe, self._plan = recipe, plan
        found = None if engine == "torch" else native_steps(recipe)
        self._engine = found if isinstance(found, NativeSteps) else Steps(recipe)
        self._refusal = found if isinstance(found, Refusal) else None
        if engine == "native" and self._refusal is not None:
            raise UnsupportedError(
                f"{self.name}: no native engine runs it: {self._refusal}; leave the engine out."
            )
        self._ended = False
        self._inputs = recipe.inputs
        self._device = self._engine.empty(0).device

    def __repr__(self) -> str:
        pairs = zip(self.shapes, self.axes, strict=True)
        shapes = " and ".join(f"({', '.join(with_time(shape, axis))})" for shape, axis in pairs)
        return (
            f"Stream of {self.name}, {shapes}: latency {self.latency}, hop {self.hop}, "
            f"{how_many(self.count, 'sample')} pushed, {self.engine}"
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ArgumentTypeError(
            f"{self.name}: a stream is neither copied nor pickled; make another one with "
            "atrous.stream and give it this one's state."
        )

    @property
    def name(self) -> str:
        """What the model is called."""
        return self._recipe.trials.axis.name

    @property
    def engine(self) -> Literal["native", "torch"]:
        """What runs the pushes: a program of the native kernels, or PyTorch call by call."""
        from atrous.runners.stream.engine import Steps

        return "torch" if isinstance(self._engine, Steps) else "native"

    @property
    def refusal(self) -> Refusal | None:
        """Why no native engine runs it, where one was looked for."""
        return self._refusal

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the example that the model was recorded at, of its first input."""
        return self.shapes[0]

    @property
    def axis(self) -> int:
        """The dimension of the first input that is time."""
        return self.axes[0]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the examples of all inputs."""
        return tuple(value.shape for value in self._recipe.inputs)

    @property
    def axes(self) -> tuple[int, ...]:
        """The dimension of each input that is time."""
        return tuple(value.dim for value in self._recipe.inputs)

    @property
    def dtype(self) -> Any:
        """The type of the first input's numbers."""
        return self._recipe.inputs[0].dtype

    @property
    def rates(self) -> tuple[Fraction, ...]:
        """Samples of each input for one of the first, by the lengths of the examples."""
        return self._recipe.trials.axis.rates

    @property
    def output_axis(self) -> int:
        """The dimension of the first output that is time."""
        return self._recipe.outputs[0].dim

    @cached_property
    def plan(self) -> StreamPlan:
        """How the network runs live, layer by layer: state, delays, lengths, contexts.

        See `atrous.plan_stream`.
        """
        return self._plan()

    @property
    def latency(self) -> Fraction:
        """Input samples from an output's own place to the last sample that it waits for.

        Output `o` stands at input sample `o * stride`. It is what an impulse test finds, at least.
        Of several inputs it is that of the one waited for longest, in samples of the first.
        """
        return max(self._engine.schedule.latencies)

    @property
    def latencies(self) -> tuple[Fraction, ...]:
        """How late outputs are for each input, in its own samples, where all others are there."""
        return self._engine.schedule.latencies_of_inputs

    @property
    def hop(self) -> int:
        """Input samples after which the pattern of outputs repeats, of the first of several."""
        return self._recipe.trials.period

    @property
    def stride(self) -> Fraction:
        """Input samples for each position of the first output."""
        return 1 / self._recipe.outputs[0].rate

    @property
    def count(self) -> int:
        """Input samples that were pushed, of the first input."""
        return self._engine.count

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples of each input that were pushed."""
        return self._engine.held.counts if len(self.axes) > 1 else (self.count,)

    def push(self, chunk: Any, *others: Any) -> Any:
        """The outputs that are certain once `chunk` is there and were not before, in order.

        `chunk` is a tensor or an array of the input's shape with any length along time, also 0.
        What comes back is the same kind of thing, of length 0 where nothing is certain; several
        outputs come as a tuple. Raises `ArgumentError` or `ArgumentTypeError` for a chunk that does
        not fit, and `RunError` after `flush`; the stream is then as it was.

        A model of several inputs takes a chunk of each, of whatever lengths have come by then: what
        waits for one is kept of the others.
        """
        if self._ended:
            raise RunError(f"{self.name}: the stream has ended; reset it before the next chunk.")
        if len(others) != len(self._inputs) - 1:
            raise ArgumentTypeError(
                f"{self.name}: it takes {how_many(len(self._inputs), 'chunk')} at a time, one for "
                f"each input, and got {1 + len(others)}; give those of length 0 where nothing came."
            )
        new = [self._taken(one, i) for i, one in enumerate((chunk, *others))]
        more = any(one.shape[value.dim] for one, value in zip(new, self._inputs, strict=True))
        made = self._engine.alone(self._engine.push, *new) if more else self._none()
        return self._given(made, chunk)

    def flush(self) -> Any:
        """The outputs that are left, now that no more comes: the ends get their padding.

        A tensor, or a tuple of several. Raises `RunError` where the model takes no input as long
        as what was pushed, and after another flush. A stream without samples has no outputs.
        """
        if self._ended:
            raise RunError(f"{self.name}: the stream has ended; reset it to begin another.")
        made = self._engine.alone(self._engine.finish)
        self._ended = True
        return self._given(made, None)

    def reset(self) -> None:
        """Begins a new stream; nothing of the one before is left."""
        self._engine.reset()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether it was flushed, so that nothing more is taken before `reset`."""
        return self._ended

    @property
    def state(self) -> StreamState:
        """What is kept at this moment, as a copy; assign it to go on from there."""
        return self._state_of(self._engine.held, ended=self._ended)

    @state.setter
    def state(self, state: StreamState) -> None:
        self._engine.held = self._held_of(state)
        self._ended = bool(state.ended)

    @staticmethod
    def _state_of(held: Held, *, ended: bool) -> StreamState:
        """What is kept, in memory of its own."""
        held = held.copy()
        cells = tuple(map(tuple, held.cells))
        return StreamState(held.count, ended, tuple(held.kept), cells, held.others)

    def _held_of(self, state: StreamState) -> Held:
        """A state as the engine keeps it. Raises where it is none of this model."""
        if not isinstance(state, StreamState):
            raise ArgumentTypeError(
                f"a state is a {type(state).__name__}; give what `stream.state` gave."
            )
        from atrous.runners.stream.engine import Held

        fits = state.is_plain and len(state.kept) == len(self._recipe.values)
        cells = [list(cell) for cell in state.cells] if fits else []
        held = Held(state.count, list(state.kept) if fits else [], cells, state.others)
        if not fits or not (state.ended or self._steps.fits(held)):
            raise ArgumentError(
                f"{self.name}: the state is one of another model; give one that a stream of the "
                "same layers saved."
            )
        return held.mapped(lambda x: x.to(self._device).clone())

    def slots(self, most: int | None = None) -> Slots:
        """Many streams of this model, each as if it were alone.

        They `open`, `push` and `close` by keys, whenever they like; this stream is another one. By
        the native kernels each runs for itself. In PyTorch, which `most` asks for, up to so many
        run as one batch (8 if it is left out); the model is recorded for batches of 2, 4 and so on.
        Raises `ArgumentError` for `most` below 1.

        >>> import atrous, torch
        >>> live = atrous.stream(torch.nn.Conv1d(1, 1, 5, padding=2), (1, 1, 64))
        >>> many = live.slots()
        >>> for name in ("ann", "bob"):
        ...     _ = many.open(name)
        >>> made = many.push({"ann": torch.zeros(1, 1, 10), "bob": torch.zeros(1, 1, 4)})
        >>> {name: one.shape[2] for name, one in made.items()}, many.close("bob").shape[2]
        ({'ann': 8, 'bob': 2}, 2)
        """
        from atrous.runners.stream.slots import Slots

        if len(self._inputs) > 1:
            raise UnsupportedError(
                f"{self.name}: slots hold streams of one input; run one of each."
            )
        return Slots(self, most)

    def to_onnx(self, path: str | PathLike[str], block: int | None = None) -> None:
        """Writes the model as it runs on blocks, its state as explicit inputs and outputs.

        It is the stream's steady state, in the middle: the `settled` samples at the beginning and
        the end are the stream's own (`push`, `flush`), or zeros stand for the state at the
        beginning, which is as if silence had gone before inside every layer. The metadata's entry
        `atrous.stream` has, as JSON, `block`, `hop`, `latency`, `settled`, how many outputs a block
        has `made`, and for each `state` the names of its input and output, its shape and type; its
        zero value is 0. `state_arrays` gives the state of a stream under these names.

        `block` is a multiple of the hop, the hop itself if it is left out. Raises `ArgumentError`
        where it is not, `UnsupportedError` where positions are counted from the beginning.
        """
        from atrous.runners.stream.onnx_block import write_block

        try:
            block = self.hop if block is None else index(block)
        except TypeError:
            raise ArgumentTypeError(
                f"{self.name}: block={block!r} is no number of samples; give a whole one."
            ) from None
        about = {
            "model": self.name,
            "axis": self.axis,
            "hop": self.hop,
            "latency": str(self.latency),
        }
        write_block(self._steps, Path(path), block, about)

    def state_arrays(self) -> dict[str, Any]:
        """What is kept at this moment, as arrays by the names that `to_onnx` gives them.

        Raises `ArgumentTypeError` for a model in bfloat16, of which there are no arrays.
        """
        import torch

        from atrous.runners.stream.onnx_block import kept_tensors

        kept = kept_tensors(self._engine.held.copy())
        if any(one.tensor.dtype == torch.bfloat16 for one in kept):
            raise ArgumentTypeError(
                f"{self.name}: its state is bfloat16, of which NumPy has no arrays; take "
                "stream.state, or stream the model in float32."
            )
        return {one.name: one.real.cpu().numpy() for one in kept}

    @property
    def _steps(self) -> Steps:
        """The steps in PyTorch."""
        from atrous.runners.stream.engine import Steps

        return self._engine if isinstance(self._engine, Steps) else self._engine.steps

    def _none(self) -> list[torch.Tensor]:
        return [self._engine.empty(one.index) for one in self._recipe.outputs]

    def _taken(self, chunk: Any, place: int = 0) -> torch.Tensor:
        """A chunk of an input as the model takes it. Raises where it does not fit."""
        import torch

        value = self._inputs[place]

        if isinstance(chunk, np.ndarray):
            chunk = self._tensor(chunk, value.dtype)
        if not isinstance(chunk, torch.Tensor):
            raise ArgumentTypeError(
                f"{self.name}: a chunk is a {type(chunk).__name__}; give a tensor or an array."
            )
        if chunk.layout != torch.strided or chunk.is_meta:
            raise ArgumentTypeError(
                f"{self.name}: a chunk is a sparse tensor or one without numbers; give a dense one."
            )
        shape = tuple(chunk.shape)
        wanted = (*value.shape[: value.dim], "any", *value.shape[value.dim + 1 :])
        fits = len(shape) == len(wanted) and all(
            d == value.dim or a == b for d, (a, b) in enumerate(zip(shape, wanted, strict=True))
        )
        if not fits:
            text = ", ".join(map(str, wanted))
            of = f" as input {place + 1}" if len(self._inputs) > 1 else ""
            raise ArgumentError(
                f"{self.name}: a chunk of shape {shape} does not fit; the stream takes ({text})"
                f"{of}."
            )
        if chunk.dtype != value.dtype:
            raise ArgumentTypeError(
                f"{self.name}: a chunk is {str(chunk.dtype).removeprefix('torch.')}, the model "
                f"takes {str(value.dtype).removeprefix('torch.')}; convert it."
            )
        return chunk.detach().to(self._device)

    def _tensor(self, chunk: np.ndarray[Any, Any], dtype: Any) -> torch.Tensor:
        """An array as a tensor. Raises where none has its type."""
        import torch

        try:
            return torch.from_numpy(np.require(chunk, requirements=["W"]))
        except ValueError:
            # Reversed, or of another byte order.
            plain = chunk.dtype.newbyteorder("=")
            return torch.from_numpy(np.array(chunk, dtype=plain, order="C"))
        except TypeError:
            raise ArgumentTypeError(
                f"{self.name}: a chunk is an array of {chunk.dtype}, the model takes "
                f"{str(dtype).removeprefix('torch.')}; convert it."
            ) from None

    def _given(self, made: list[torch.Tensor], chunk: Any) -> Any:
        found = [one.numpy() for one in made] if isinstance(chunk, np.ndarray) else made
        return found[0] if len(found) == 1 else tuple(found)
