"""Every error that atrous raises on purpose: one root, and children that resemble a builtin.

A caller catches `AtrousError` for all of them, or the builtin that fits: a bad window is also a
`ValueError`, an unknown layer also a `KeyError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

# A name comes from outside: no message grows with it, and no search for near names either.
_LONGEST_NAME = 80
_MOST_NAMES = 8
_MOST_NEAR = 3


def clean(text: str) -> str:
    """The text with everything that is not printable replaced: names come from outside.

    >>> clean("conv\\x1b[31m\\n")
    'conv?[31m?'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


class AtrousError(Exception):
    """The root of every error that atrous raises on purpose.

    `subject` is the layer or file that the error concerns, and leads the message. `see` is a
    command that tells more, which the command line adds.

    >>> error = AtrousError("stride must be at least 1, got 0.")
    >>> error.subject = "features.0"
    >>> print(error)
    features.0: stride must be at least 1, got 0.
    """

    subject: str | None = None
    see: str | None = None

    def __str__(self) -> str:
        # Not the builtin's own text: KeyError would quote it.
        message = str(self.args[0]) if self.args else ""
        text = message if self.subject is None else f"{clean(self.subject)}: {message}"
        # A place in a text is shown below it.
        return "\n".join(map(clean, text.split("\n")))


class GeometryError(AtrousError, ValueError):
    """A window, padding or length that no op can have.

    >>> isinstance(GeometryError("kernel must be at least 1, got 0."), ValueError)
    True
    """


class ArgumentError(AtrousError, ValueError):
    """An array whose shape or place does not fit the others, or an option out of its range.

    >>> isinstance(ArgumentError("groups is 3, which does not divide 8 channels."), ValueError)
    True
    """


class ArgumentTypeError(AtrousError, TypeError):
    """An argument of a kind, or with elements of a kind, that the function does not take.

    >>> isinstance(ArgumentTypeError("x is int64; convert it to float32."), TypeError)
    True
    """


class NetworkError(AtrousError, ValueError):
    """A network that contradicts itself: a cycle, a missing tensor, shapes that do not join.

    >>> isinstance(NetworkError("`add` reads tensor `x9`, which nothing makes."), ValueError)
    True
    """


class ReadError(AtrousError, ValueError):
    """A source that cannot be read.

    >>> isinstance(ReadError("the file ends in the middle of a tensor."), ValueError)
    True
    """


class UnknownNameError(AtrousError, KeyError):
    """A name that nothing has; `unknown` writes its message.

    >>> print(UnknownNameError("no layer is named 'conv9'."))
    no layer is named 'conv9'.
    """


class MissingDependencyError(AtrousError, ImportError):
    """A library that is not installed, and that this call needs.

    >>> isinstance(MissingDependencyError("reading a module needs torch."), ImportError)
    True
    """


class UnsupportedError(AtrousError, NotImplementedError):
    """A request that is understood and that atrous does not answer.

    >>> isinstance(UnsupportedError("footprints of 4-D inputs."), NotImplementedError)
    True
    """


class RunError(AtrousError, RuntimeError):
    """A model that an engine does not run, or a run that cannot go on: what was finished stays.

    >>> isinstance(RunError("scan.tif: it has changed while it was run."), RuntimeError)
    True
    """


class UnreachableError(AtrousError, ValueError):
    """A target that nothing in the space searched reaches; the nearest that something does is said.

    >>> isinstance(UnreachableError("a field of 513 is out of reach."), ValueError)
    True
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a `name` that is not among the `known` ones, which lists the near ones.

    Near is by `difflib`, without regard to case. Where nothing is near, the first known names are
    listed instead.

    >>> print(unknown("network", "Resnet51", ["resnet50", "resnet152", "unet"]))
    no network is named 'Resnet51'; near: resnet50, resnet152.
    >>> print(unknown("network", "hourglass", ["unet", "resnet50", "tcn"]))
    no network is named 'hourglass'; known: unet, resnet50, tcn.
    """
    known = list(dict.fromkeys(known))
    by_lower: dict[str, list[str]] = {}
    for candidate in known:
        by_lower.setdefault(candidate.lower(), []).append(candidate)
    near = [
        candidate
        for lower in get_close_matches(name[:_LONGEST_NAME].lower(), by_lower, n=_MOST_NEAR)
        for candidate in by_lower[lower]
    ]
    shown = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."
    message = f"no {kind} is named {shown!r}"
    if near:
        return UnknownNameError(f"{message}; near: {', '.join(near[:_MOST_NEAR])}.")
    if not known:
        return UnknownNameError(f"{message}; there are none.")
    rest = len(known) - _MOST_NAMES
    more = f" and {rest} more" if rest > 0 else ""
    return UnknownNameError(f"{message}; known: {', '.join(known[:_MOST_NAMES])}{more}.")


@contextmanager
def concerning(subject: str) -> Iterator[None]:
    """An `AtrousError` raised inside leads its message with `subject`, a layer or a file.

    The error keeps its class and its traceback. Of nested blocks the innermost wins, because it
    names the thing most exactly.

    >>> with concerning("model.onnx"), concerning("layer4.0.conv2"):
    ...     raise GeometryError("dilation must be at least 1, got 0.")
    Traceback (most recent call last):
        ...
    atrous.errors.GeometryError: layer4.0.conv2: dilation must be at least 1, got 0.
    """
    try:
        yield
    except AtrousError as error:
        if error.subject is None:
            error.subject = subject
        raise
