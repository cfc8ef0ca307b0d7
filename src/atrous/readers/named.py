"""Models by name from the libraries that are installed: `timm:`, `torchvision:`, `smp:`.

Weights are random, the same at every call, unless `weights=PATH` names a file that has them:
nothing is ever downloaded.
"""

from __future__ import annotations

import ast
import importlib
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from atrous.errors import MissingDependencyError, ReadError, UnsupportedError, concerning, unknown
from atrous.network import Network
from atrous.registry import Registry

__all__ = ["SCHEMES", "Made", "Request", "make", "parse", "read_named"]

Shape = tuple[int, ...]
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "none": None}
_EXAMPLES = {"timm": "timm:resnet18", "torchvision": "torchvision:resnet18", "smp": "smp:Unet"}
_PRETRAINED = ("pretrained", "weights_backbone", "encoder_weights")
_SIDE = 224
_FRAMES = 16
_DETECTED = 800
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Request:
    """What a source such as `timm:resnet18d?output_stride=8` asks for."""

    scheme: str
    name: str
    arguments: Mapping[str, Any]
    weights: str | None = None

    @property
    def subject(self) -> str:
        """What errors lead with: the source without its arguments."""
        text = f"{self.scheme}:{self.name}"
        return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


@dataclass(frozen=True, slots=True)
class Made:
    """A model with random weights, and the inputs that it is usually given.

    `listed` says that it takes a list of images, of which `input` is one, with a batch of 1.
    """

    model: Any
    input: Shape | tuple[Shape, ...]
    listed: bool = False


@dataclass(frozen=True, slots=True)
class _Library:
    module: str
    package: str
    make: Callable[[ModuleType, Request], Made]


_LIBRARIES = Registry[str, _Library]("library")


def _library(scheme: str, module: str, package: str) -> Callable[[Any], Any]:
    def register(make: Callable[[ModuleType, Request], Made]) -> Any:
        _LIBRARIES[scheme] = _Library(module, package, make)
        return make

    return register


def read_named(
    source: str, input: Any = None, *, weights: bool = False, eager: bool = True
) -> Network:
    """The network of a model that a library has under that name; `input` as for a module.

    Without `input`, the model gets the size that its library gives for it, else 224 x 224.
    """
    request = parse(source)
    made = make(request, listed=True)
    # Only now: without PyTorch, `make` has said in one line what is missing.
    from atrous.readers.torch.reader import read_torch

    given = made.input if input is None else input
    network = read_torch(made.model, given, weights=weights, eager=eager)
    return replace(network, name=request.name)


def make(request: Request, *, listed: bool = False) -> Made:
    """The model that is asked for, in evaluation mode, and its usual input.

    The same request gives the same random weights, and leaves the caller's random numbers alone.
    Raises `MissingDependencyError` where the library is not installed, `UnknownNameError` where it
    has no model of that name, `ReadError` where the arguments do not fit it, `UnsupportedError` for
    a model that takes lists of images unless that is what is wanted.
    """
    library = _LIBRARIES[request.scheme]
    if not request.name:
        example = _EXAMPLES[request.scheme]
        raise ReadError(f"{request.scheme}: stands before the name of a model; write {example}.")
    module = _imported(library, request)
    import torch

    from atrous.frameworks.torch import seed_all

    with concerning(request.subject), torch.random.fork_rng(devices=[]):
        seed_all(0)
        made = library.make(module, request)
        if made.listed and not listed:
            raise UnsupportedError(
                "detection models take lists of images and choose boxes by their values: inspect "
                "reads one as it runs; here give its backbone, such as torchvision:resnet50."
            )
        if request.weights is not None:
            _load(made.model, request.weights)
    made.model.eval()
    return made


def parse(source: str) -> Request:
    """The library, the name and the arguments that a source gives.

    Values are `true`, `false`, `none`, numbers, tuples, and strings for the rest.

    >>> parse("timm:resnet18d?features_only=true&output_stride=8").arguments
    {'features_only': True, 'output_stride': 8}
    >>> parse("torchvision:resnet50?replace_stride_with_dilation=false,true,true").arguments
    {'replace_stride_with_dilation': (False, True, True)}
    """
    scheme, _, rest = source.partition(":")
    name, _, query = rest.partition("?")
    bare = Request(scheme, name, {})
    arguments: dict[str, Any] = {}
    with concerning(bare.subject):
        for part in query.split("&") if query else ():
            key, equals, text = part.partition("=")
            if not equals or not key.isidentifier():
                raise ReadError(
                    f"{_cut(part)!r} is no argument; write them as name=value, joined by &: "
                    f"{scheme}:NAME?in_chans=1&features_only=true."
                )
            if key in arguments:
                raise ReadError(f"the argument {_cut(key)!r} is given twice.")
            arguments[key] = text if key == "weights" else _value(text)
        weights = arguments.pop("weights", None)
        for key in _PRETRAINED:
            if arguments.pop(key, None):
                raise ReadError(
                    f"{key} would download weights, and atrous never does; leave it out for "
                    "random weights, or give weights=PATH, a file that has them."
                )
    return Request(scheme, name, arguments, weights)


def _value(text: str) -> Any:
    """What a text in a source means: a word, a literal, a tuple where there are commas, or text."""
    word = text.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    inner = text.strip()
    bracketed = inner[:1] + inner[-1:] in {"()", "[]"}
    if bracketed or "," in inner:
        parts = (inner[1:-1] if bracketed else inner).split(",")
        # A nested bracket that is no literal stays the text that it is.
        return tuple(_value(part) if "," in inner else part for part in parts if part.strip())
    return text


@_library("timm", "timm", "timm")
def _timm(timm: ModuleType, request: Request) -> Made:
    if not timm.is_model(request.name):
        raise unknown("timm model", request.name, timm.list_models())
    arguments = request.arguments
    model = _called(request, timm.create_model, model_name=request.name, pretrained=False)
    config = getattr(model, "pretrained_cfg", None) or {}
    channels, *sides = config.get("input_size") or (3, _SIDE, _SIDE)
    sides = _sides(arguments.get("img_size"), 2) or sides
    return Made(model, (1, arguments.get("in_chans", channels), *sides))


@_library("torchvision", "torchvision", "torchvision")
def _torchvision(torchvision: ModuleType, request: Request) -> Made:
    models = torchvision.models
    name = request.name
    if name not in models.list_models():
        raise unknown("torchvision model", name, models.list_models())
    builder = models.get_model_builder(name)
    unweighted: dict[str, Any] = {"weights": None}
    detects = name in models.list_models(module=models.detection)
    if detects or name in models.list_models(module=models.segmentation):
        # The backbone's weights would be downloaded otherwise.
        unweighted["weights_backbone"] = None
    model = _called(request, builder, **unweighted)
    if detects:
        return Made(model, (1, 3, _DETECTED, _DETECTED), listed=True)
    preset = _preset(models, name)
    if name in models.list_models(module=models.video):
        return Made(model, (1, 3, _FRAMES, *(_sides(preset, 2) or (_SIDE, _SIDE))))
    image = (1, 3, *(_sides(preset, 2) or (_SIDE, _SIDE)))
    if name in models.list_models(module=models.optical_flow):
        return Made(model, (image, image))
    return Made(model, image)


@_library("smp", "segmentation_models_pytorch", "segmentation-models-pytorch")
def _smp(smp: ModuleType, request: Request) -> Made:
    import torch

    known = {
        name: value
        for name, value in vars(smp).items()
        if isinstance(value, type) and issubclass(value, torch.nn.Module)
    }
    if request.name not in known:
        raise unknown("smp model", request.name, known)
    model = _called(request, known[request.name], encoder_weights=None)
    return Made(model, (1, request.arguments.get("in_channels", 3), _SIDE, _SIDE))


SCHEMES = tuple(_LIBRARIES)
"""What comes before the colon of a source that names a library's model."""


def _preset(models: ModuleType, name: str) -> Any:
    """The side of the image that the library evaluates its weights at."""
    try:
        transforms = models.get_model_weights(name).DEFAULT.transforms
    except (AttributeError, ValueError):
        return None
    given = getattr(transforms, "keywords", {})
    return given.get("crop_size") or given.get("resize_size")


def _sides(value: Any, rank: int) -> Shape:
    """The sides of an image or a clip; empty where the value says none."""
    if isinstance(value, int):
        return (value,) * rank
    return tuple(value) if isinstance(value, Sequence) and len(value) == rank else ()


def _called(request: Request, function: Callable[..., Any], **fixed: Any) -> Any:
    """What the library's function makes; what it raises is one line, about the arguments."""
    with warnings.catch_warnings():
        # What libraries announce about their defaults does not concern the reader of a report.
        warnings.simplefilter("ignore")
        try:
            return function(**fixed, **request.arguments)
        except Exception as error:
            given = ", ".join(f"{key}={value!r}" for key, value in request.arguments.items())
            about = f"with {_cut(given)}" if given else "as it is"
            raise ReadError(f"{request.scheme} cannot make it {about}: {_raised(error)}") from error


def _imported(library: _Library, request: Request) -> ModuleType:
    try:
        return importlib.import_module(library.module)
    except ModuleNotFoundError as error:
        missing = (error.name or library.module).partition(".")[0]
        package = library.package if missing == library.module else missing
        raise MissingDependencyError(
            f"{request.subject} needs {missing}, which is not installed: pip install {package}"
        ) from None
    except Exception as error:
        raised = _raised(error)
        # What a torchvision says that was built for another torch.
        fix = "; install the torchvision of your torch" if "torchvision::" in raised else ""
        raise ReadError(
            f"{request.subject}: {library.module} is installed and cannot be imported: "
            f"{raised}{fix}"
        ) from error


def _load(model: Any, path: str) -> None:
    """Put the weights of a file into the model."""
    import torch

    if not Path(path).is_file():
        raise ReadError(
            f"weights={_cut(path)}: there is no such file; weights are read from a file and never "
            "downloaded."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state.get("state_dict", state))
    except Exception as error:
        raise ReadError(f"weights={_cut(path)} do not fit: {_raised(error)}") from error


def _raised(error: Exception) -> str:
    """What an error says, after its class, in one line."""
    text = " ".join(str(error).split())
    if not text:
        frames = traceback.extract_tb(error.__traceback__)
        text = (frames[-1].line or "") if frames else ""
    kind = type(error).__name__
    return f"{kind}: {text[: 3 * _SHOWN]}" if text else kind


def _cut(text: str) -> str:
    """The text, short enough for a message."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
