"""`training`: what training a module holds in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from atrous.analysis.requirements import bytes_of
from atrous.errors import AtrousError, ReadError, unknown
from atrous.network.training import BatchMemory, Training
from atrous.progress import step
from atrous.readers.kind import kind_of
from atrous.readers.named import make, parse
from atrous.readers.source import sized

if TYPE_CHECKING:
    from atrous.readers.torch.optimizers import Optimizers
    from atrous.readers.torch.training import Loss

__all__ = ["training"]

_CASTS = ("bfloat16", "float16")
_MOST_TRIES = 24


def training(
    source: Any,
    input: Any = None,
    *,
    optimizer: str | Optimizers = "sgd",
    loss: Loss | None = None,
    autocast: str | None = None,
    keep_gradients: bool = False,
    budget: int | str | None = None,
) -> Training:
    """The memory of training `source`: parameters, gradients, optimizer's state and activations.

    `source` is a `torch.nn.Module` or a name that a library has for one, `input` as for `inspect`.
    One step is the forward pass in training mode, `loss` of what comes out (left out: the sum of
    all floating outputs), its backward pass, the `optimizer`, and gradients set to None, or to zero
    with `keep_gradients`. All of it runs on tensors without numbers and every storage is followed;
    the module is left as it was. A module in training mode keeps the modes of its parts. Lazy
    layers take their sizes from `input`, on a copy.

    `optimizer` is the name of one in `torch.optim`, with arguments as `"sgd?momentum=0.9"`, or
    what makes one of a list of parameters; `autocast` is `"bfloat16"` or `"float16"`. With a
    `budget` ("8GiB", or bytes), `batch.largest` is the largest batch that stays within.

    Raises `ReadError` for what is no module or has nothing to train, `UnknownNameError` for an
    optimizer that is none, `UnsupportedError` where the steps depend on the numbers of a run.

    >>> import atrous, torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU(inplace=True))
    >>> found = atrous.training(model, (8, 3, 66, 66), optimizer="adamw", budget="1GiB")
    >>> found.kept[0].layer, found.kept[0].nbytes, found.batch.largest
    ('0', 8388608, 499)
    """
    module, given = _module(source, input)
    from atrous.readers.torch.inputs import examples_for
    from atrous.readers.torch.training import TrainingRequest, training_run

    limit = None if budget is None else bytes_of(budget)
    examples = examples_for(module, given, type(module).__name__)
    asked = TrainingRequest(optimizer, loss, _cast(autocast), keep_gradients)
    found = training_run(module, examples, asked)

    @cache
    def peak(batch: int) -> int:
        step(f"a batch of {batch}")
        return training_run(module, examples, asked, batch).later.peak_bytes

    first = examples.tensors()[:1]
    if not first or not first[0].ndim:
        return found
    try:
        return replace(found, batch=_batches(peak, len(first[0]), limit))
    except AtrousError as error:
        if limit is not None:
            raise
        return replace(found, notes=(*found.notes, f"at another batch: {error}"))


def _module(source: Any, input: Any) -> tuple[Any, Any]:
    """The module, and its input."""
    kind = kind_of(source)
    if kind == "module":
        return sized(source, input), input
    if kind == "library":
        made = make(parse(source))
        return made.model, made.input if input is None else input
    name = source if isinstance(source, str) else type(source).__name__
    raise ReadError(
        f"{name}: the memory of training is that of a PyTorch module as its code runs; give a "
        "torch.nn.Module, timm:NAME, torchvision:NAME or smp:NAME."
    )


def _cast(name: str | None) -> str | None:
    if name is None:
        return None
    plain = str(name).removeprefix("torch.")
    if plain not in _CASTS:
        raise unknown("type for autocast", plain, _CASTS)
    return plain


def _batches(peak: Callable[[int], int], batch: int, budget: int | None) -> BatchMemory:
    """How the peak grows with the batch, and the largest one within the budget."""
    tried = (batch, 2 * batch, 3 * batch)
    peaks = tuple(map(peak, tried))
    low, high = peaks[1] - peaks[0], peaks[2] - peaks[1]
    slope = high // batch
    found = BatchMemory(tried, peaks, slope, abs(low - high) <= 0.001 * high, budget)
    if budget is None:
        return found
    return replace(found, largest=_largest(peak, tried[-1], peaks[-1], slope, budget))


def _largest(peak: Callable[[int], int], batch: int, held: int, slope: int, budget: int) -> int:
    """The largest batch within the budget: it and the next one are tried, first where a line says.

    >>> _largest(lambda n: 100 + 7 * n + n // 10, 3, 121, 7, 500)
    56
    """
    if slope <= 0:
        raise ReadError("the peak does not grow with the batch, so no batch is the largest.")
    low, high = 0, None
    guess = max(1, batch + (budget - held) // slope)
    for _ in range(_MOST_TRIES):
        if peak(guess) <= budget:
            low, next_guess = guess, guess + max(1, (budget - peak(guess)) // slope)
        else:
            high, next_guess = guess, guess - max(1, (peak(guess) - budget) // slope)
        if high is not None and high - low <= 1:
            return low
        if not low < next_guess < (high or next_guess + 1):
            next_guess = (low + (high or 2 * low + 2)) // 2
        guess = next_guess
    raise ReadError(f"no largest batch was found within {budget:,} B; it is at least {low}.")
