"""`stream`: a model live, chunk by chunk, with the result of the whole."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from atrous.errors import ArgumentError, UnsupportedError
from atrous.readers.given import is_shape
from atrous.readers.kind import kind_of, source_name
from atrous.readers.named import make, parse
from atrous.verbs.plan_stream import plan_stream

if TYPE_CHECKING:
    from atrous.runners.stream.stream import Stream

__all__ = ["stream"]


def stream(
    model: Any,
    input: Any = None,
    *,
    axis: int | None = None,
    running: bool = False,
    engine: Literal["native", "torch"] | None = None,
) -> Stream:
    """The model live: chunks of any length in, and what the whole run gives, as soon as certain.

    `model` is a PyTorch module, run in evaluation mode, on its device, without gradients. `input`
    is the shape of an input with some length that the model takes, or an example; `axis` says
    which dimension is time where several may be. The results of all pushes and of `flush`, one
    behind the other, are what the model makes of the whole input, its length included; an output
    comes as soon as every sample that it reads is there.

    `stream.latency` says how many samples that is behind an output's own place, `stream.hop` after
    how many samples the pattern repeats; `stream.state` saves and restores.

    In float32 on the CPU pushes run as one program of the native kernels, where these know every
    call of the model; else call by call in PyTorch. `stream.engine` says which, `stream.refusal`
    why it is not the program, and `engine` asks for one of the two: `"torch"`, or `"native"`, which
    raises `UnsupportedError` where there is none. Both keep the same `state`.

    Raises `UnsupportedError`, naming the layer, where something takes all of time at once (norms
    over time, attention over all of time, a recurrent layer that goes both ways), and where no
    dimension or more than one may be time. Norms over time go by the statistics of what came so
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
    if kind_of(model) != "module":
        raise UnsupportedError(f"{source_name(model)}: streams run PyTorch modules; give one.")
    from atrous.runners.stream.recipe import Recipe
    from atrous.runners.stream.stream import Stream
    from atrous.runners.stream.trials import Trials, time_axis

    shape = tuple(getattr(input, "shape", input) or ())
    if not is_shape(shape) or not shape:
        raise ArgumentError(
            f"{source_name(model)}: a module does not say what it takes; give the shape of an "
            "input, with batch, channels and some length, such as input=(1, 1, 16000)."
        )
    where = time_axis(model, shape, axis, getattr(input, "dtype", None))
    recipe = Recipe(Trials(where), running=running)
    return Stream(recipe, partial(plan_stream, model, shape, axis=where.axis), engine)
