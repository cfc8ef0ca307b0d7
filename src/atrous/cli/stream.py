"""`stream`: a model live on sound, from a file or a pipe, block by block."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from atrous.cli.options import Inputs, Json, Rate
from atrous.cli.output import look_of, measuring, show, show_json, wrote
from atrous.cli.sources import model
from atrous.errors import ReadError

__all__ = ["stream"]

_MODEL_HELP = (
    "An .onnx file, timm:NAME, torchvision:NAME, or MODULE:FUNCTION or FILE.py:FUNCTION, which "
    "RUNS THAT CODE and returns a PyTorch module."
)


def stream(
    source: Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL_HELP, show_default=False)],
    sound: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="A .wav, .flac or .npy; .raw or - for raw float32, interleaved."
        ),
    ],
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="A .wav, .flac, .npy or .raw; - for raw float32.")
    ],
    block: Annotated[int, typer.Option(min=1, metavar="N", help="Samples pushed at a time.")] = 256,
    input: Inputs = None,
    rate: Rate = None,
    channels: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of raw sound; 1 if not given.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Also run all at once, and compare; 1 if other.")
    ] = False,
    json: Json = False,
) -> None:
    """A model live on sound, block by block, with the result of the whole clip.

    It says how many times as fast as real time it ran, what the slowest block took, and how late
    the stream is. Where sound goes to standard output, that is said on standard error.

    Examples:

    - atrous stream my.models:denoiser noisy.wav clean.wav --block 256 --check

    - atrous stream denoiser.onnx noisy.wav clean.wav --check

    - atrous stream my.models:vocoder mel.npy speech.wav --rate 86.13 --block 10

    - sox in.wav -t f32 - | atrous stream my.models:denoiser - - --rate 16k | play -t f32 -r 16k -
    """
    from atrous.analysis.scale import per_rate
    from atrous.report.stream_run import StreamRunView
    from atrous.verbs.stream_file import stream_file

    scale = None if rate is None else per_rate(rate)
    if target == "-" and json:
        raise ReadError("--json and the sound both go to standard output; write OUT to a file.")
    made, given = model(source, input or ())
    shape = given
    if isinstance(shape, dict):
        if len(shape) != 1:
            raise ReadError("--input names several; a stream of sound takes one shape.")
        (shape,) = shape.values()
        shape = (shape,) if isinstance(shape, int) else shape
    if shape is not None and isinstance(shape[0], tuple):
        shape = shape[0]
    if shape is not None and not isinstance(shape[0], int):
        shape = tuple(shape.shape) if hasattr(shape, "shape") else tuple(shape[0].shape)
    with measuring(f"streaming {sound}") as told:
        done = stream_file(
            made,
            sound,
            target,
            block=block,
            input=shape,
            rate=None if scale is None else 1000 / scale.step,
            channels=channels,
            check=check,
            progress=told,
        )
    if target == "-":
        print(StreamRunView(done).text(look_of(sys.stderr)), file=sys.stderr)  # noqa: T201
    elif json:
        show_json(done.to_dict())
    else:
        show(StreamRunView(done))
        wrote(Path(target))
    if done.equal is False:
        raise typer.Exit(1)
