"""Sources and input shapes as they are typed on the command line."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from atrous.cli.output import working
from atrous.errors import AtrousError, ReadError, concerning, unknown
from atrous.files import is_there

if TYPE_CHECKING:
    from atrous.analysis import Inspection
    from atrous.analysis.diff import Diff
    from atrous.network import Network
    from atrous.network.training import Training

__all__ = [
    "difference",
    "function",
    "given_stack",
    "load",
    "model",
    "named_sources",
    "other_report",
    "position",
    "shapes",
    "stack_text",
    "trained",
    "values",
]

_LOCATION = re.compile(r"(?P<place>.+\.py|[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*(\.\w+)*)")


_SAVED = "give a SOURCE, or a report saved by `atrous inspect SOURCE --json`."

Given = tuple[int, ...] | tuple[tuple[int, ...], ...] | dict[str, tuple[int, ...] | int] | None

_NAMED = re.compile(r"(?P<name>[^=:]+)=(?P<source>.*)", re.DOTALL)


def load(
    source: str,
    inputs: Sequence[str],
    structure_only: bool = False,
    given_values: Sequence[str] = (),
) -> Network:
    """The network that `source` names; runs the user's code where it names a function of theirs.

    With `structure_only`, no weight is looked at.
    """
    from atrous.network import Network
    from atrous.readers import read as read_any
    from atrous.readers.kind import kind_of

    held = values(given_values)
    read = partial(read_any, structure_only=structure_only, values=held)
    given = shapes(inputs)
    kind = kind_of(source)
    if kind in ("zoo", "stack"):
        return read(source, given)
    if kind == "library":
        with working(f"reading {source}"):
            return read(source, given)
    location = _LOCATION.fullmatch(source)
    if location is None or is_there(source):
        _hint(source)
        with working(f"reading {source}"):
            return read(source, given)
    with working(f"running {source}"):
        made, example = _made(source, location["place"], location["name"])
    if isinstance(made, Network):
        if given is not None:
            raise ReadError(f"{source} gives a network whose sizes are set; leave out --input.")
        return read(made)
    said = concerning(source) if isinstance(made, str) else nullcontext()
    with working(f"reading {source}"), said:
        return read(made, example if given is None else given)


def model(source: str, inputs: Sequence[str]) -> tuple[Any, Any]:
    """What `source` names, as `atrous.convert` takes it, and its input; the user's code is run."""
    from atrous.readers.kind import kind_of

    given = shapes(inputs)
    if kind_of(source) != "file":
        return source, given
    location = _LOCATION.fullmatch(source)
    if location is None or is_there(source):
        _hint(source)
        return source, given
    with working(f"running {source}"):
        made, example = _made(source, location["place"], location["name"])
    return made, example if given is None else given


def trained(
    source: str,
    inputs: Sequence[str],
    optimizer: str,
    autocast: str | None = None,
    budget: str | None = None,
) -> Training:
    """The memory of training what `source` names."""
    from atrous.readers.kind import kind_of
    from atrous.verbs.training import training

    made, given = model(source, inputs)
    trains = kind_of(made) in ("module", "library")
    with working(f"training {source}"), nullcontext() if trains else concerning("--training"):
        return training(made, given, optimizer=optimizer, autocast=autocast, budget=budget)


def other_report(
    old: str,
    inputs: Sequence[str],
    structure_only: bool = False,
    given_values: Sequence[str] = (),
) -> Inspection:
    """The report of a source that stands beside another one."""
    from atrous.analysis import inspect_network

    if old.endswith(".json"):
        raise ReadError(
            f"--diff {old}: a saved report has no network to draw; give a SOURCE with --html."
        )
    return inspect_network(load(old, inputs, structure_only, given_values))


def difference(
    old: str,
    report: Inspection,
    inputs: Sequence[str],
    structure_only: bool = False,
    given_values: Sequence[str] = (),
) -> Diff:
    """What differs between `report` and an old one: a source, or a report saved as JSON."""
    from atrous.analysis import inspect_network
    from atrous.analysis.diff import diff_reports

    if not old.endswith(".json"):
        before = inspect_network(load(old, inputs, structure_only, given_values)).to_dict()
        return diff_reports(before, report.to_dict())
    with concerning(old):
        try:
            saved = json.loads(Path(old).read_text(encoding="utf-8"))
        except OSError as error:
            raise ReadError(f"{error.strerror or type(error).__name__}; {_SAVED}") from None
        except (ValueError, RecursionError) as error:
            raise ReadError(f"it is no JSON: {error}; {_SAVED}") from None
        return diff_reports(saved, report.to_dict())


def shapes(inputs: Sequence[str]) -> Given:
    """What `--input` gives: a shape, shapes of several inputs, or shapes and sizes by name; None
    where it is left out.

    >>> shapes(["1,3,512,512"]), shapes(["1,3,64,64; 1,16"])
    ((1, 3, 512, 512), ((1, 3, 64, 64), (1, 16)))
    >>> shapes(["x=1,1,64", "state=1,1,62", "sr=", "batch=2"])
    {'x': (1, 1, 64), 'state': (1, 1, 62), 'sr': (), 'batch': 2}
    """
    parts = [part for text in inputs for part in text.split(";") if part.strip()]
    if not parts:
        if inputs:
            raise ReadError(
                "--input is empty; give batch, channels and sizes, such as 1,3,512,512."
            )
        return None
    if not any("=" in part for part in parts):
        found = [_sizes(part) for part in parts]
        return found[0] if len(found) == 1 else tuple(found)
    named: dict[str, tuple[int, ...] | int] = {}
    for part in parts:
        name, equals, text = (piece.strip() for piece in part.rpartition("="))
        if not equals or not name:
            raise ReadError(
                f"--input {part.strip()!r} has no name and others have; give each as NAME=SHAPE."
            )
        if name in named:
            raise ReadError(f"--input {name} is given twice; give each name once.")
        named[name] = _named_size(text)
    return named


def values(texts: Sequence[str]) -> dict[str, Any] | None:
    """What `--value` gives: a number or a list of them by the name of an input; None if nothing.

    >>> values(["sr=16000", "size=2,3", "flag=true"]), values([])
    ({'sr': 16000, 'size': [2, 3], 'flag': True}, None)
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, numbers = (piece.strip() for piece in text.rpartition("="))
        try:
            given = [_number(part) for part in numbers.strip("()[]").split(",") if part.strip()]
        except ValueError:
            given = []
        if not (equals and name and given):
            raise ReadError(f"--value {text!r} is no value; give NAME=NUMBER, such as sr=16000.")
        if name in found:
            raise ReadError(f"--value {name} is given twice; give each name once.")
        found[name] = given[0] if len(given) == 1 and "," not in numbers else given
    return found or None


def _number(text: str) -> int | float | bool:
    """A number, whole where it is written so, or true or false."""
    word = text.strip().lower()
    if word in ("true", "false"):
        return word == "true"
    return int(word) if re.fullmatch(r"[+-]?[0-9]+", word) else float(word)


def _named_size(text: str) -> tuple[int, ...] | int:
    """Behind a name: a single number for a dimension, else a shape, which may be empty."""
    if not text.strip("()[] "):
        return ()
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    return _sizes(text.rstrip(", )]"))


def position(text: str | None) -> tuple[int, ...] | None:
    """The output position that `--at` gives.

    >>> position("16,16"), position(None)
    ((16, 16), None)
    """
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ReadError(
            f"--at {text!r} is no position; give one index an axis, such as 16,16."
        ) from None


def named_sources(texts: Sequence[str]) -> dict[str, str]:
    """What `compare` is given: sources by name; a text that is nothing else is a stack.

    >>> named_sources(["k3 k3d2", "old=zoo:vgg16"])
    {'k3 k3d2': 'stack:k3 k3d2', 'old': 'zoo:vgg16'}
    """
    named: dict[str, str] = {}
    for text in texts:
        found = _NAMED.fullmatch(text)
        name, source = (found["name"].strip(), found["source"]) if found else (text, text)
        if not _is_elsewhere(source):
            source = f"stack:{source}"
        if name in named:
            raise ReadError(f"{name!r} is given twice; give each its own name, as NAME=STACK.")
        named[name] = source
    return named


def stack_text(source: str) -> str:
    """A source as it is shown: a stack without its prefix."""
    return source.removeprefix("stack:")


def _is_elsewhere(source: str) -> bool:
    """Whether a source is something else than a stack: it has a colon, or is like a path.

    >>> _is_elsewhere("k3 k3d2"), _is_elsewhere("weights.pt"), _is_elsewhere("zoo:vgg16")
    (False, True, True)
    """
    is_path = re.fullmatch(r"[^\s\[|]*(/[^\s\[|]*|\.[A-Za-z]\w*)", source) is not None
    return ":" in source or is_path or (bool(source.strip()) and is_there(source))


def given_stack(text: str, verb: str) -> str:
    """The stack that a verb is given, which takes no other source; raises `ReadError` for one."""
    stack = stack_text(text)
    if stack == text and _is_elsewhere(text):
        raise ReadError(
            f"{text}: `{verb}` takes a stack, such as `k3s2x64 k3d2`; `atrous inspect` takes any "
            "SOURCE."
        )
    return stack


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in re.split(r"[,x]", text.strip().strip("()[]")))
    except ValueError:
        raise ReadError(
            f"--input {text.strip()!r} is no shape; give batch, channels and sizes, such as "
            "1,3,512,512."
        ) from None
    if min(sizes) < 1:
        raise ReadError(
            f"--input {text.strip()!r} has a size of {min(sizes)}; every size is at least 1."
        )
    return sizes


def _hint(source: str) -> None:
    if source.endswith(".py"):
        raise ReadError(f"{source} is Python code; name the function to run in it: {source}:NAME.")
    # The name of a known network alone is what one types first.
    if re.fullmatch(r"\w+", source) and not is_there(source):
        from atrous.network import zoo

        if source in zoo.names():
            raise ReadError(f"{source!r} is no file; the known network is zoo:{source}.")
    place, colon, name = source.rpartition(":")
    if colon and (place.endswith(".py") or not name) and not is_there(source):
        raise ReadError(f"{source}: {name!r} is no name of a function; give FILE.py:FUNCTION.")


def _made(source: str, place: str, name: str) -> tuple[Any, Any]:
    """What the user's function makes, and the example input where it gives one."""
    before = "jax" in sys.modules
    try:
        found: Any = _imported(place)
        brings = not before and "jax" in sys.modules
        found = _named_in(found, place, name)
        made = found() if _is_called(found, brings) else found
    except AtrousError:
        raise
    except (Exception, SystemExit) as error:
        raise ReadError(f"{source} raised {_raised(error)}") from error
    pair = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    _check_model(source, pair[0], brings)
    return pair


def _named_in(found: Any, place: str, name: str) -> Any:
    """What a module has under a name, dots and all."""
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n in getattr(found, "__dict__", ()) if not n.startswith("_")]
            with concerning(place):
                raise unknown("function", part, names)
        found = getattr(found, part)
    return found


def function(text: str, option: str) -> Callable[..., Any]:
    """The function that an option names, MODULE:FUNCTION or FILE.py:FUNCTION; it is not called."""
    location = _LOCATION.fullmatch(text)
    if location is None:
        raise ReadError(f"{option} {text}: name a function, MODULE:FUNCTION or FILE.py:FUNCTION.")
    try:
        found = _named_in(_imported(location["place"]), location["place"], location["name"])
    except AtrousError:
        raise
    except (Exception, SystemExit) as error:
        raise ReadError(f"{option} {text} raised {_raised(error)}") from error
    if not callable(found):
        raise ReadError(f"{option} {text}: it is no function.")
    return found  # type: ignore[no-any-return]


def _check_model(source: str, made: Any, brings: bool) -> None:
    """Raise `ReadError` unless a function gave what may be a model."""
    from atrous.plugins import extensions
    from atrous.readers.kind import kind_of, what_it_is

    if inspect.iscoroutine(made):
        made.close()  # else Python warns that nobody waited for it
    # Readers of other packages take what they like.
    called = callable(made) and not isinstance(made, type) and _knows_jax(made, brings)
    if kind_of(made) != "unknown" or called or extensions("atrous.readers"):
        return
    raise ReadError(
        f"{source} gives {what_it_is(made)}, which is no model; return a torch.nn.Module, another "
        "SOURCE or a Network, or a pair of one and its input, such as (1, 3, 224, 224)."
    )


def _is_called(found: Any, brings: bool) -> bool:
    # A module is callable as well, and is the model already.
    kinds: tuple[Callable[[Any], bool], ...] = (
        inspect.isroutine,
        inspect.isclass,
        lambda value: isinstance(value, partial),
    )
    return any(kind(found) for kind in kinds) and not _is_itself_the_source(found, brings)


def _is_itself_the_source(found: Any, brings: bool) -> bool:
    """A function of arrays, in code that imports JAX: it takes arguments, and makes no model."""
    from atrous.readers.kind import kind_of

    if inspect.isclass(found) or kind_of(found) != "jax" or not _knows_jax(found, brings):
        return False
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return False
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in plain and p.default is inspect.Parameter.empty for p in parameters)


def _knows_jax(found: Any, brings: bool) -> bool:
    """Whether a function's code imports JAX, by itself or (`brings`) by what it imports.

    Where JAX was there before, what the code names decides; what has no code of its own may.
    """
    if brings or "jax" not in sys.modules:
        return brings
    while isinstance(found, partial):
        found = found.func
    names = getattr(inspect.unwrap(found), "__globals__", None)
    if names is None:
        return True
    roots = {
        str(getattr(v, "__module__", None) or getattr(v, "__name__", "")) for v in names.values()
    }
    return any(root.partition(".")[0] in ("jax", "jaxlib", "flax") for root in roots)


def _imported(place: str) -> ModuleType:
    if not place.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name and (place == error.name or place.startswith(error.name + ".")):
                raise ReadError(
                    f"no module is named {error.name!r} here or among what is installed"
                    f"{_near_scheme(error.name)}; a source "
                    "is the path of an .onnx file, zoo:NAME, timm:NAME, torchvision:NAME, "
                    "smp:NAME, stack:..., MODULE:FUNCTION or FILE.py:FUNCTION."
                ) from None
            raise
    path = Path(place).resolve()
    if not path.is_file():
        raise ReadError(f"{place}: there is no such file.")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ReadError(f"{place}: Python cannot import it.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _near_scheme(name: str) -> str:
    """What stands before the colon of a known source, where a name is nearly that."""
    from atrous.readers.named import SCHEMES

    near = get_close_matches(name.lower(), ("zoo", "stack", *SCHEMES), n=1, cutoff=0.7)
    return f"; near: {near[0]}:..." if near else ""


def _raised(error: BaseException) -> str:
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    # A call that does not fit its function fails here, which says nothing about theirs.
    ours = (__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
    last = frames[-1] if frames and frames[-1].filename not in ours else None
    where = f" ({Path(last.filename).name}, line {last.lineno})" if last else ""
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"
