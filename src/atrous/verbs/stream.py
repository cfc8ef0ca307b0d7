"""`stream`: a model live, chunk by chunk, with the result of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from atrous.errors import ArgumentError, AtrousError, UnsupportedError
from atrous.readers.foreign import name_of
from atrous.readers.given import is_shape
from atrous.readers.kind import kind_of, source_name
from atrous.readers.named import make, parse
from atrous.verbs.plan_stream import plan_stream

if TYPE_CHECKING:
    from atrous.plan.stream import StreamPlan
    from atrous.runners.stream.stream import Stream
    from atrous.runners.stream.trials import Trials

__all__ = ["stream"]

Engine = Literal["native", "torch"] | None


def stream(
    model: Any,
    input: Any = None,
    *,
    axis: int | Sequence[int] | None = None,
    running: bool = False,
    engine: Engine = None,
) -> Stream:
    """The model live: chunks of any length in, and what the whole run gives, as soon as certain.

    `model` is a PyTorch module, run in evaluation mode, on its device, without gradients, or an
    ONNX file. `input` is the shape of an input with some length that the model takes, or an
    example; of several inputs a tuple of these, whose lengths are in the proportion of their rates.
    A file that says its sizes needs none. `axis` says which dimension is time where several may be,
    one for all inputs or one for each. The results of all pushes and of `flush`, one behind the
    other, are what the model makes of the whole input, its length included; an output comes as soon
    as every sample that it reads is there.

    An ONNX file is rebuilt of the calls that its nodes are and held against ONNX Runtime on random
    numbers; nothing in it runs. Of a file made for one length, sizes that it holds go along with
    the length, and ends of slices are counted from behind.

    `stream.latency` says how many samples that is behind an output's own place, `stream.hop` after
    how many samples the pattern repeats; `stream.state` saves and restores.

    In float32 on the CPU pushes run as one program of the native kernels, where these know every
    call of the model; else call by call in PyTorch. `stream.engine` says which, `stream.refusal`
    why it is not the program, and `engine` asks for one of the two: `"torch"`, or `"native"`, which
    raises `UnsupportedError` where there is none. Both keep the same `state`.

    Raises `UnsupportedError`, naming the layer or node, where something takes all of time at once
    (norms over time, attention over all of time, a recurrent layer that goes both ways), and where
    no dimension or more than one may be time. Norms over time go by the statistics of what came so
    far where `running` asks for it, which is another result than that of the whole.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 5, 2, 2), torch.nn.Conv1d(4, 1, 3))
    >>> live = stream(model, (1, 1, 64))
    >>> str(live.latency), live.hop
    ('6', 2)
    >>> sound = torch.randn(1, 1, 100)
    >>> pieces = [live.push(chunk) for chunk in sound.split(7, 2)]
    >>> [piece.shape[2] for piece in pieces][:4]
    [1, 3, 4, 3]
    >>> whole = torch.cat([*pieces, live.flush()], 2)
    >>> torch.allclose(whole, model(sound), atol=1e-6)
    True
    """
    if engine not in (None, "native", "torch"):
        raise ArgumentError(
            f"engine={engine!r} is none; give 'native' or 'torch', or leave it out."
        )
    if kind_of(model) == "library":
        model = make(parse(model)).model
    kind = kind_of(model)
    if kind in ("file", "message"):
        return _file_live(model, input, axis, running, engine)
    if kind != "module":
        raise UnsupportedError(
            f"{source_name(model)}: streams run PyTorch modules and ONNX files; give one."
        )
    from atrous.runners.stream.trials import Trials, time_axis

    given = _each_of(input)
    if not given:
        raise ArgumentError(
            f"{source_name(model)}: a module does not say what it takes; give the shape of an "
            "input, with batch, channels and some length, such as input=(1, 1, 16000)."
        )
    shapes = tuple(shape for shape, _ in given)
    where = time_axis(model, shapes, axis, tuple(dtype for _, dtype in given))
    plan = partial(plan_stream, model, _one_or_all(shapes), axis=where.axis)
    return _streamed(Trials(where), plan, running, engine)


def _each_of(input: Any) -> list[tuple[tuple[int, ...], Any]]:
    """The shape and type of each input, by shapes or examples; nothing where one is neither."""
    several = isinstance(input, list | tuple) and not is_shape(input)
    found = []
    for one in input if several else [input]:
        shape = getattr(one, "shape", one) or ()
        if not is_shape(shape) or not tuple(shape):
            return []
        dtype = getattr(one, "dtype", None)
        found.append((tuple(shape), dtype if str(dtype).startswith("torch.") else None))
    return found


def _one_or_all(shapes: tuple[tuple[int, ...], ...]) -> Any:
    return shapes[0] if len(shapes) == 1 else shapes


def _streamed(
    trials: Trials, plan: Callable[[], StreamPlan], running: bool, engine: Engine
) -> Stream:
    from atrous.runners.stream.recipe import Recipe
    from atrous.runners.stream.stream import Stream

    return Stream(Recipe(trials, running=running), plan, engine)


def _file_live(
    source: Any, input: Any, axis: int | Sequence[int] | None, running: bool, engine: Engine
) -> Stream:
    """The stream of an ONNX file, by the module that does what its nodes do."""
    from atrous.runners.rebuilt.agreement import rebuilt_file
    from atrous.runners.stream.trials import Trials, time_axis

    named = name_of(Path(source)) if kind_of(source) == "file" else source.graph.name[:80]
    with _in_file(named or "ONNX model"):
        found = rebuilt_file(source, input)
        try:
            where = time_axis(found.module, found.shapes, axis, found.dtypes, found.label)
            trials = Trials(where)
        except AtrousError as error:
            told = "dynamic" in str(error) or "say which" in str(error)
            if found.module.fixed and not told:
                sizes = " and ".join("x".join(map(str, shape)) for shape in found.own)
                more = (
                    f"The file is made for {sizes} alone, and may hold sizes of that length; "
                    "export it with a dynamic time length."
                )
                error.args = (f"{error.args[0]} {more}",)
            raise
        plan = partial(plan_stream, source, _one_or_all(found.shapes), axis=where.axis)
        return _streamed(trials, plan, running, engine)


@contextmanager
def _in_file(label: str) -> Iterator[None]:
    """Errors raised inside lead with the file, then with the node that they name."""
    try:
        yield
    except AtrousError as error:
        if not str(error).startswith(label):
            held = error.subject
            error.subject = label if held is None else f"{label}: {held}"
        raise
