"""Arguments and options that several verbs take."""

from __future__ import annotations

from typing import Annotated

import typer

from atrous.errors import ReadError

__all__ = [
    "SOURCE_HELP",
    "Animate",
    "Html",
    "Image",
    "InputValues",
    "Inputs",
    "Json",
    "Outputs",
    "Pixel",
    "Rate",
    "Source",
    "StructureOnly",
    "names_of",
]

SOURCE_HELP = (
    "The path of an .onnx file, zoo:NAME, stack:..., timm:NAME, torchvision:NAME or smp:NAME, or "
    "MODULE:FUNCTION or FILE.py:FUNCTION, which RUNS THAT CODE. `atrous stack --help` has stacks."
)
Source = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, show_default=False)]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="SHAPE",
        help="Batch, channels and sizes, such as 1,3,512,512. Several inputs: repeat it, or name "
        "them: x=1,3,64,64, a scalar as sr=. What a file leaves open, by its name: height=512.",
    ),
]
InputValues = Annotated[
    list[str] | None,
    typer.Option(
        "--value",
        metavar="NAME=NUMBER",
        help="The value of a file's input that decides what runs, such as sr=16000; repeat it.",
    ),
]
Html = Annotated[
    str | None, typer.Option(metavar="PATH", help="Also write a page that opens offline to PATH.")
]
Image = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="With --html: an image to lay behind the footprints."),
]
Animate = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Also write a picture to PATH, an .svg that plays: output after output, what each "
        "reads.",
    ),
]
Rate = Annotated[
    str | None,
    typer.Option(metavar="HZ", help="Samples per second, 16000 or 44.1k: ms beside positions."),
]
Pixel = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="The size of a position, 0.5um: lengths beside positions."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON under a versioned schema.")]
StructureOnly = Annotated[
    bool,
    typer.Option(
        "--structure-only",
        help="Count taps whose weight is 0 for all channels as read: look at no weight.",
    ),
]
Outputs = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="The outputs or layers whose maps are wanted, separated by commas; all outputs if "
        "left out.",
    ),
]


def names_of(text: str | None) -> tuple[str, ...] | None:
    """The names that `--outputs` gives, separated by commas; None where it is left out."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ReadError("--outputs is empty; give names of layers, such as layer4.")
    return names
