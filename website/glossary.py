"""The field's terms, each with the number or picture that shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import atrous
from atrous.draw.animation import animation, footprints_scene, sliding_scene
from atrous.geometry import Window, stack_taps, tail_factors

__all__ = ["glossary"]

HEAD = """# Glossary

The words of this field, one for each idea, and the number or picture that shows it. Everything here
is computed when the site is built.

"""

Shown = Callable[[Path], str]
TERMS: dict[str, tuple[str, Shown]] = {}


def term(name: str, meaning: str) -> Callable[[Shown], Shown]:
    """Registers a term with its meaning; the function shows it."""

    def register(shown: Shown) -> Shown:
        TERMS[name] = (meaning, shown)
        return shown

    return register


def glossary(pictures: Path) -> str:
    """The page in Markdown; its pictures go into a folder."""
    parts = [HEAD]
    for name in sorted(TERMS, key=str.lower):
        meaning, shown = TERMS[name]
        parts.append(f"## {name}\n\n{meaning}\n\n{shown(pictures)}\n")
    return "\n".join(parts)


def moving(pictures: Path, name: str, window: Window, length: int, **options: bool) -> str:
    """A window going over an input, as a picture."""
    title = name.replace("-", " ")
    scene = sliding_scene([window], [length], title=title, **options)
    (pictures / f"term-{name}.svg").write_text(animation([scene], 0.8, side=22), encoding="utf-8")
    return f"![{title}: what each output reads](pictures/term-{name}.svg){{ .slide }}"


def line(stack: str, length: int = 200) -> atrous.Inspection:
    """The report on a stack along one axis."""
    return atrous.inspect(f"stack:{stack}", (1, 1, length))


@term("Stride", "How far the window moves from one output to the next.")
def _stride(pictures: Path) -> str:
    return moving(pictures, "kernel-3,-stride-2", Window(3, 2), 9)


@term(
    "Dilation, or rate",
    "How far apart the taps of a window lie. Rate 1 is an ordinary window. *Atrous* is French for "
    "*with holes*.",
)
def _dilation(pictures: Path) -> str:
    return moving(pictures, "kernel-3,-rate-2", Window(3, dilation=2), 9)


@term("Tap", "One of the positions that a window reads; a kernel of K has K of them on an axis.")
def _tap(_: Path) -> str:
    return f"The taps of output 5, kernel 3, rate 4: {list(Window(3, dilation=4).taps(5))}."


@term("Extent", "From the first tap of a window to its last: d (K - 1) + 1 positions.")
def _extent(_: Path) -> str:
    rows = ", ".join(f"{Window(3, dilation=d).extent} at rate {d}" for d in (1, 2, 4, 12))
    return f"Kernel 3 has an extent of {rows}."


@term(
    "Receptive field",
    "From the first input position that an output reads to the last, through all layers, counted "
    "as if the input had no end. Which of them are really read is its coverage; how strongly, its "
    "effective field.",
)
def _field(_: Path) -> str:
    field = line("k3s2 k3d2").outputs[0].field[0]
    return f"`k3s2 k3d2` has a field of {field.size}, of which it reads {field.taps} positions."


@term("Coverage", "The share of its receptive field that an output reads.")
def _coverage(_: Path) -> str:
    shown = []
    for rates in ((2, 2, 2), (1, 2, 3), (2, 4, 8)):
        taps = stack_taps(3, rates)
        shown.append(f"{taps.count / taps.size:.0%} for rates {', '.join(map(str, rates))}")
    return f"Kernel 3 along one axis: {'; '.join(shown)}."


@term(
    "Gridding",
    "Holes in a receptive field that no layer fills: positions inside it that no path reads.",
)
def _gridding(pictures: Path) -> str:
    report = atrous.inspect("stack:k3d2 k3d2", (1, 1, 13, 13))
    places = [(6, column) for column in range(13)]
    feet = (report.footprint(at=at) for at in places)
    scene = footprints_scene(feet, (13, 13), "two layers of rate 2")
    (pictures / "term-gridding.svg").write_text(animation([scene], 0.6), encoding="utf-8")
    share = report.footprint().coverage
    return (
        f"Two layers of rate 2 read {share:.0%} of the box that they span.\n\n"
        "![What the outputs of one row read](pictures/term-gridding.svg){ .slide }"
    )


@term(
    "Sub-grids",
    "Where the last layers' rates have a common factor, neighbouring outputs read different grids "
    "of the map before, and share nothing.",
)
def _subgrids(_: Path) -> str:
    return (
        f"Rates 1, 2, 4 end on {tail_factors((1, 2, 4))[-1]} sub-grids, rates 4, 2, 1 on "
        f"{tail_factors((4, 2, 1))[-1]}. Both read the same positions."
    )


@term(
    "Checkerboard",
    "A transposed convolution whose kernel is no multiple of its stride gives its outputs unequal "
    "numbers of inputs by turns.",
)
def _checkerboard(pictures: Path) -> str:
    return moving(pictures, "transposed,-kernel-3,-stride-2", Window(3, 2), 5, transposed=True)


@term(
    "Output stride",
    "How many input positions one output position stands for; that of a network is said of its "
    "coarsest map, or of its output. A fraction below 1 after upsampling.",
)
def _output_stride(_: Path) -> str:
    stride = line("k3s2 k3s2 k3s2").outputs[0].field[0].stride
    return f"`k3s2 k3s2 k3s2` has an output stride of {stride}."


@term("Phase", "A position modulo the stride. After upsampling, fields depend on it.")
def _phase(_: Path) -> str:
    field = line("k3s2 k3 ups2").outputs[0].field[0]
    starts = [phase.start for phase in field.phases]
    return f"Behind `k3s2 k3 ups2` there are {len(starts)} phases, which begin at {starts}."


@term("Start and centre", "The first position that output 0 reads, and the middle of its read.")
def _centre(_: Path) -> str:
    same, causal = (line(stack).outputs[0].field[0] for stack in ("k5", "k5causal"))
    return (
        f"Kernel 5, padded alike on both sides: {same.start} and {same.center}; padded in front "
        f"alone: {causal.start} and {causal.center}."
    )


@term("Causal", "No output reads ahead of its own time: all padding lies in front.")
def _causal(pictures: Path) -> str:
    return moving(pictures, "kernel-3,-causal", Window(3, pad_lo=2), 7)


@term("Same padding", "Extent - 1 positions in all, so that a layer of stride 1 keeps its size.")
def _same(pictures: Path) -> str:
    return moving(pictures, "kernel-3,-rate-2,-same", Window(3, 1, 2, 2, 2), 7)


@term("Valid padding", "None: outputs are made where the window fits.")
def _valid(pictures: Path) -> str:
    return moving(pictures, "kernel-3,-valid", Window(3), 7)


@term("Footprint", "The set of input positions that one output reads, in all axes together.")
def _footprint(_: Path) -> str:
    foot = atrous.inspect("stack:k3d2 k3", (1, 1, 32, 32)).footprint()
    return f"`k3d2 k3` reads {foot.taps} positions of a box of {foot.box.size}."


@term(
    "Effective receptive field",
    "Where most of an output's dependence lies: the box that holds, say, 95% of all paths, or of "
    "the gradient.",
)
def _effective(_: Path) -> str:
    foot = atrous.inspect("stack:" + "k3 " * 16, (1, 1, 64, 64)).footprint()
    size, whole = foot.effective().size[0], foot.box.shape[0]
    return (
        f"Sixteen layers of kernel 3 see {whole} positions, and 95% of all paths lie within {size}."
    )


@term("Halo", "What a tile has to read beyond its own positions, so that its outputs are exact.")
def _halo(_: Path) -> str:
    field = line("k3 k3d2 k3d4").outputs[0].field[0]
    return f"`k3 k3d2 k3d4` needs {field.back} positions on each side."


@term(
    "ASPP",
    "Atrous spatial pyramid pooling: parallel branches of different rates on one map, joined.",
)
def _aspp(_: Path) -> str:
    shares = []
    for rate in (6, 12, 18):
        window = Window(3, 1, rate, rate, rate)
        inside = sum(0 <= tap < 33 for o in range(33) for tap in window.taps(o)) / 99
        shares.append(f"{inside**2:.0%} at rate {rate}")
    return f"On a map of 33x33 the share of taps that lie inside is {', '.join(shares)}."


@term("MAC", "One multiplication and addition: two floating-point operations (FLOPs).")
def _mac(_: Path) -> str:
    report = atrous.inspect("stack:k3x64", (1, 64, 32, 32))
    return f"A 3x3 layer of 64 to 64 channels on 32x32 takes {report.macs:,}."


@term("Depthwise", "A convolution in which each channel has a window of its own.")
def _depthwise(_: Path) -> str:
    full, own = (atrous.inspect(f"stack:{kind}k3", (1, 64, 32, 32)) for kind in ("", "dw"))
    return f"At 64 channels it takes {own.macs / full.macs:.3g} of the products of a full one."


@term("Global op", "One whose every output depends on all positions: global pooling, attention.")
def _global(_: Path) -> str:
    report = atrous.inspect("zoo:resnet50")
    return (
        f"ResNet-50 ends in {', '.join(report.outputs[-1].globals)}; before it, fields are local."
    )
