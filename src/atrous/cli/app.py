"""The verbs, each a small function, and the one place where errors become lines and exit codes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from atrous.cli.output import complain, forgive, give_up_output, show, show_json, working
from atrous.cli.pages import place_for, put
from atrous.cli.sources import (
    difference,
    load,
    named_sources,
    other_report,
    position,
    shapes,
    stack_text,
)
from atrous.errors import AtrousError, ReadError, unknown

if TYPE_CHECKING:
    from atrous.report import Sort

__all__ = ["app", "main"]

app = typer.Typer(
    name="atrous",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Typer brings its own copy of click from 0.29 on; both call their root error this.
_USAGE: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

SOURCE_HELP = (
    "The path of an .onnx file, zoo:NAME, stack:..., timm:NAME, torchvision:NAME or smp:NAME, or "
    "MODULE:FUNCTION or FILE.py:FUNCTION, which RUNS THAT CODE."
)
Source = Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, show_default=False)]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="SHAPE",
        help="Batch, channels and sizes, such as 1,3,512,512. Several inputs: repeat it.",
    ),
]
Html = Annotated[
    str | None, typer.Option(metavar="PATH", help="Also write a page that opens offline to PATH.")
]
Image = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="With --html: an image to lay behind the footprints."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON under a versioned schema.")]


def _version(asked: bool) -> None:
    if asked:
        import atrous
        from atrous.operators.kernels import native

        print(f"atrous {atrous.__version__}, {native()}")  # noqa: T201
        raise typer.Exit


@app.callback(invoke_without_command=True)
def atrous(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What each output of a convolutional network sees, and what that costs."""
    if context.invoked_subcommand is None:
        print(context.get_help())  # noqa: T201


@app.command()
def inspect(
    source: Source,
    input: Inputs = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer", "-l", metavar="NAME", help="One layer in depth, with its footprint drawn."
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="INDEX", help="With --layer: the output position; its middle if not."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The layer to report on as the network's output."),
    ] = None,
    sort: Annotated[
        str, typer.Option(metavar="BY", help="order, name, field, macs, params or memory.")
    ] = "order",
    depth: Annotated[
        int | None, typer.Option(min=1, help="Fold layers into modules of that many names.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only that many rows.")] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Also layers that move no positions and cost no MACs."),
    ] = False,
    diff: Annotated[
        str | None,
        typer.Option(
            metavar="OLD",
            help="What differs from OLD: a SOURCE, or a report saved with --json (a .json file).",
        ),
    ] = None,
    html: Html = None,
    image: Image = None,
    graph: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Write the network as a graph, modules folded, to .svg."),
    ] = None,
    json: Json = False,
) -> None:
    """What each layer sees and costs: receptive field, holes, stride, MACs, memory.

    --html writes a page that opens offline, with charts, the footprint of every layer and the
    graph; with --diff OLD (a SOURCE) both stand side by side.

    MODULE:FUNCTION and FILE.py:FUNCTION import that code from here and call it, so give only code
    that you trust. It returns a PyTorch module, a path, a Network, or a model and an example input.

    Examples:

    - atrous inspect zoo:resnet50

    - atrous inspect model.onnx --layer conv3

    - atrous inspect "stack:k3 k3d2 k3d4" --input 1,16,64,64

    - atrous inspect "timm:resnet18d?features_only=true&output_stride=8"

    - atrous inspect my.models:small --input 1,3,224,224 --sort macs --top 10

    - atrous inspect model.onnx --diff before.json

    - atrous inspect model.onnx --html report.html --image photo.jpg
    """
    from atrous.analysis import inspect_network
    from atrous.report import SORTS, DiffView, InspectionView, LayerView, Listed
    from atrous.shown import view

    if sort not in SORTS:
        raise unknown("order", sort, SORTS)
    if at is not None and layer is None:
        raise ReadError("--at is a position of one layer's output; give --layer as well.")
    if diff is not None and (layer is not None or depth is not None or sort != "order"):
        raise ReadError("--diff lists layers as they run; leave out --layer, --depth and --sort.")
    place = position(at)
    if image is not None and html is None:
        raise ReadError("--image lies behind the footprints of a page; give --html as well.")
    if html is not None and layer is not None:
        raise ReadError("--html has every layer; leave out --layer.")
    page = None if html is None else place_for(html, "--html", ".html")
    drawn_at = None if graph is None else place_for(graph, "--graph", ".svg")
    report = inspect_network(load(source, input or ()), output=output)
    if drawn_at is not None:
        put(report.graph(), drawn_at, "--graph")
    if page is not None:
        beside = None if diff is None else other_report(diff, input or ())
        with working(f"drawing {page.name}"):
            put(view(report).page(image=image, beside=beside), page, "--html")
    if diff is not None:
        found = difference(diff, input or (), report)
        if json:
            show_json(found.to_json())
        else:
            show(DiffView(found, every, top))
        return
    if layer is None:
        if json:
            show_json(report.to_json())
        else:
            show(InspectionView(report, Listed(every, depth, cast("Sort", sort), top)))
        return
    chosen = report[layer]
    footprint = report.footprint(chosen.name, place) if chosen.field else None
    if json:
        drawn = None if footprint is None else footprint.to_dict()
        show_json({"schema": "atrous.layer/1", **chosen.to_dict(), "footprint": drawn})
    else:
        show(LayerView(chosen, footprint))


@app.command()
def compare(
    stacks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STACK",
            help='Each in quotes, such as "k3s2x64 k3d2"; NAME=STACK names it. Or any SOURCE of '
            "`inspect`. Left out: the usual schemes.",
            show_default=False,
        ),
    ] = None,
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            metavar="SHAPE",
            help="Batch, channels and 1 to 3 spatial sizes; 1,3,512,512 unless given.",
        ),
    ] = None,
    kernel: Annotated[
        int | None, typer.Option(metavar="K", help="Of the usual schemes; 3 unless given.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(metavar="N", help="How many convolutions each has; 4.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(metavar="C", help="How many channels each makes; 64.")
    ] = None,
    json: Json = False,
) -> None:
    """Stride, dilation, both or pooling: what each sees, keeps and costs on one input.

    The usual schemes are convolutions without either (plain), with stride 2 in each (strided), with
    rate 2 in each or with rates 1, 2, 4 and so on (dilated), with stride 2 in the first half and
    rates 1, 2, 4 and so on after it (hybrid), and with max pooling in place of the stride (pooled).

    "field by layer" is how many positions one output sees, after each layer; "read" how many of
    those it really reads, along an axis; "unread" how much of the input no output reads.

    Examples:

    - atrous compare --input 1,3,512,512 --depth 5

    - atrous compare --input 1,1,16000 --kernel 2

    - atrous compare "k3d2 k3d2 k3d2" even="k3d1 k3d2 k3d3" --input 1,64,65,65
    """
    from atrous.analysis import compare_networks
    from atrous.report import ComparisonView
    from atrous.verbs.compare import compare as compared

    usual = "1,3,512,512"
    if stacks:
        for name, value in (("kernel", kernel), ("depth", depth), ("channels", channels)):
            if value is not None:
                raise ReadError(f"--{name} is for the usual schemes; write it into the stacks.")
        named = named_sources(stacks)
        networks = {}
        for name, source in named.items():
            own = input is None and not source.startswith("stack:")
            networks[name] = load(source, [] if own else [input or usual])
        table = compare_networks(networks, {n: stack_text(s) for n, s in named.items()})
    else:
        table = compared(
            input=shapes([usual if input is None else input]),
            kernel=3 if kernel is None else kernel,
            depth=4 if depth is None else depth,
            channels=64 if channels is None else channels,
        )
    if json:
        show_json(table.to_json())
    else:
        show(ComparisonView(table))


@app.command()
def check(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help=f"{SOURCE_HELP} Left out: those of [tool.atrous] in pyproject.toml.",
            show_default=False,
        ),
    ] = None,
    input: Inputs = None,
    receptive_field: Annotated[
        str | None, typer.Option(metavar="RULE", help="Of each output, per axis: '>=300'.")
    ] = None,
    coverage: Annotated[
        str | None, typer.Option(metavar="RULE", help="The share of it read: '==100%'.")
    ] = None,
    output_stride: Annotated[
        str | None, typer.Option(metavar="RULE", help="Input positions per output: '==8'.")
    ] = None,
    macs: Annotated[str | None, typer.Option(metavar="RULE", help="In all: '<=20G'.")] = None,
    params: Annotated[str | None, typer.Option(metavar="RULE", help="In all: '<=25M'.")] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="RULE", help="Peak of activations: '<=512MiB'.")
    ] = None,
    no: Annotated[
        list[str] | None,
        typer.Option(metavar="CODES", help="Findings that must not be: gridding,checkerboard."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer", "-l", metavar="NAME", help="Where field, coverage and stride are looked at."
        ),
    ] = None,
    config: Annotated[
        str, typer.Option(metavar="PATH", help="The file with [tool.atrous].")
    ] = "pyproject.toml",
    json: Json = False,
) -> None:
    """Whether networks keep rules: exit code 0, or 1 and a line for each broken rule.

    A rule is one of <= >= == != < > and a number, with k M G T (counts), KiB MiB GiB (memory) or %
    (coverage); several are separated by commas, and all must hold, for every output and axis.
    Quote them, for the shell. Without rules, those of [tool.atrous] in pyproject.toml count; its
    keys are the same words, and `source`, `input`, `layer` and `no`.

    Examples:

    - atrous check zoo:resnet50 --receptive-field ">=300" --macs "<=5G" --no gridding

    - atrous check model.onnx --output-stride "==8" --memory "<=512MiB"

    - atrous check
    """
    from atrous.analysis import inspect_network
    from atrous.analysis.check import check_report
    from atrous.cli.settings import asked_checks
    from atrous.report import CheckView

    rules = {
        "receptive-field": receptive_field,
        "coverage": coverage,
        "output-stride": output_stride,
        "macs": macs,
        "params": params,
        "memory": memory,
    }
    found = []
    for asked in asked_checks(source, input, layer, rules, no, config):
        assert asked.source is not None
        report = inspect_network(load(asked.source, asked.inputs))
        kept = check_report(report, asked.rules, forbidden=asked.forbidden, layer=asked.layer)
        found.append((asked.source, kept))
        if not json:
            show(CheckView(kept, asked.source))
    if json:
        checks = [{"source": name, **kept.to_dict()} for name, kept in found]
        holds = all(kept for _, kept in found)
        show_json({"schema": "atrous.check/1", "holds": holds, "checks": checks})
    if not all(kept for _, kept in found):
        raise typer.Exit(1)


@app.command()
def zoo(json: Json = False) -> None:
    """The known networks: parameters, output stride, receptive field, coverage.

    Wide terminals also see each network's usual input and the coarsest stride inside it.
    """
    from atrous.analysis import inspect_network
    from atrous.network import zoo
    from atrous.report import NetworksView

    entries = [zoo.entry(name) for name in zoo.names()]
    reports = [inspect_network(entry.build()) for entry in entries]
    if json:
        networks = [
            {
                **entry.to_dict(),
                "params": report.params,
                "macs": report.macs,
                "field": [axis.to_dict() for axis in report.outputs[-1].field],
                "is_global": report.outputs[-1].is_global,
            }
            for entry, report in zip(entries, reports, strict=True)
        ]
        show_json({"schema": "atrous.zoo/1", "networks": networks})
        return
    show(
        NetworksView(
            [
                (entry.name, entry.summary, report)
                for entry, report in zip(entries, reports, strict=True)
            ]
        )
    )


def main() -> None:
    """Runs the command line; every error on purpose is one line and exit code 2."""
    forgive()
    sys.exit(_run())


def _run() -> int:
    try:
        result = app(prog_name="atrous", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except AtrousError as error:
        complain(str(error))
        return 2
    except _USAGE as error:
        context = getattr(error, "ctx", None)
        about = f"; see `{context.command_path} --help`" if context else "."
        complain(error.format_message().rstrip(".") + about)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        give_up_output()
        return 141
