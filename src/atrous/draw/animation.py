"""Moving pictures: what is read, output after output, as one SVG file that plays by itself.

No script and no library: steps of CSS. Who asks their system for less motion, and paper, get the
first step standing still.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from atrous.errors import ArgumentError, clean
from atrous.geometry import Window

if TYPE_CHECKING:
    from atrous.analysis import Footprint

__all__ = ["Frame", "Scene", "animation", "footprints_scene", "sliding_scene"]

Cell = tuple[int, int]

_MOST_FRAMES = 72
_MOST_CELLS = 10_000
_GAP = 2.0
_HEAD = 2.2
_SIDE = 14.0
_LETTER = 0.46
# Vermilion is read and blue is made; they stay apart for colour-blind readers and in grey.
_STYLE = """
text{font:600 .8px system-ui,sans-serif;fill:#1d1e24}
.g,.p,.o{stroke:#b9b3a5;stroke-width:.05}
.g{fill:#fff}.p{fill:none;stroke-dasharray:.18 .14}.o{fill:#d5e5f0}.r{fill:#d55e00}.m{fill:#0072b2}
@media(prefers-color-scheme:dark){text{fill:#ece9e1}.g,.p,.o{stroke:#55575f}
.g{fill:#1d1f26}.r{fill:#ff9d5c}.m{fill:#79bdf2}.o{fill:#22323f}}
.f{opacity:0;animation:step STEPSs steps(1,end) infinite}
@keyframes step{0%{opacity:1}SHARE%{opacity:0}100%{opacity:0}}
@media(prefers-reduced-motion:reduce),print{.f{animation:none}.f.first{opacity:1}}
:target .f{animation:none}:target .f.first{opacity:1}
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """One output and the input cells that it reads, row and column; padding lies outside."""

    at: Cell
    read: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """An input beside an output, each rows by columns, and the outputs in turn.

    `padding` is what is drawn around the input: above, before, below and behind it.
    """

    title: str
    input: Cell
    output: Cell
    frames: tuple[Frame, ...]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


def sliding_scene(
    windows: Sequence[Window], sizes: Sequence[int], *, transposed: bool = False, title: str = ""
) -> Scene:
    """A window over one or two axes, as it goes over an input of those sizes.

    With `transposed` it is run backwards: each output shows the inputs that add to it. Raises
    `ArgumentError` for other numbers of axes.

    >>> scene = sliding_scene([Window(3, dilation=2)], [7])
    >>> scene.output, scene.frames[2].read
    ((1, 3), ((0, 2), (0, 4), (0, 6)))
    """
    if not 1 <= len(windows) == len(sizes) <= 2:
        raise ArgumentError(
            f"a picture has one or two axes, got {len(windows)} windows and {len(sizes)} sizes."
        )
    if len(windows) == 1:
        windows, sizes = [Window(1), *windows], [1, *sizes]
    lengths = [
        w.transposed_length(n) if transposed else w.output_length(n)
        for w, n in zip(windows, sizes, strict=True)
    ]
    frames = []
    for at in product(*map(range, lengths)):
        along = [
            [i for i in range(n) if o in w.taps(i)] if transposed else list(w.taps(o))
            for w, n, o in zip(windows, sizes, at, strict=True)
        ]
        frames.append(Frame((at[0], at[1]), tuple((a, b) for a in along[0] for b in along[1])))
    pads = [(0, 0) if transposed else (max(w.pad_lo, 0), max(w.pad_hi, 0)) for w in windows]
    return Scene(
        title,
        (sizes[0], sizes[1]),
        (lengths[0], lengths[1]),
        tuple(frames),
        (pads[0][0], pads[1][0], pads[0][1], pads[1][1]),
    )


def footprints_scene(footprints: Iterable[Footprint], output: Sequence[int], title: str) -> Scene:
    """Footprints of several outputs of one map, in turn; of three axes the last two are drawn.

    `output` is the spatial shape of the map. Raises `ArgumentError` where it has no positions.
    """
    if not output:
        raise ArgumentError(
            "this output has no positions to go over; animate a layer before it (--layer NAME)."
        )
    frames = []
    shape: tuple[int, ...] = ()
    for one in footprints:
        shape = one.shape
        flat = one.mask.reshape(-1, *_last_two(one.shape, 1))
        mask = np.logical_or.reduce(flat, axis=0)
        read = tuple((int(a), int(b)) for a, b in zip(*mask.nonzero(), strict=True))
        frames.append(Frame(_last_two(one.at, 0), read))
    return Scene(title, _last_two(shape, 1), _last_two(output, 1), tuple(frames))


def animation(scenes: Sequence[Scene], seconds: float = 0.5, *, side: float = _SIDE) -> str:
    """The scenes below one another as an SVG picture; each output is shown for `seconds`.

    A cell is `side` pixels wide. `FILE.svg#held` in an `img` shows the first step, standing still.

    All scenes have as many steps, so that they stay together: of more outputs than 72, and of a
    longer scene than the shortest needs, outputs evenly apart are shown. Raises `ArgumentError`
    where there is nothing to show, or a map has more than 10,000 cells.
    """
    if not scenes or any(not scene.frames for scene in scenes):
        raise ArgumentError("there is nothing to animate; give a scene with at least one output.")
    for scene in scenes:
        if max(prod(scene.input), prod(scene.output)) > _MOST_CELLS:
            raise ArgumentError(
                f"a map of {max(prod(scene.input), prod(scene.output)):,} cells is too fine to be "
                f"drawn; take an input of at most {_MOST_CELLS:,} positions."
            )
    steps = min(_MOST_FRAMES, max(len(scene.frames) for scene in scenes))
    style = _STYLE.replace("STEPS", f"{steps * seconds:g}").replace("SHARE", f"{100 / steps:.4f}")
    parts, top, width = [], 0.0, 0.0
    for scene in scenes:
        body, across, down = _svg_of(scene, steps, seconds)
        parts.append(f'<g transform="translate(0 {top:g})">{body}</g>')
        top += down
        width = max(width, across)
    named = escape(clean("; ".join(scene.title for scene in scenes)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {top:g}" '
        f'width="{width * side:.0f}" height="{top * side:.0f}" id="held" role="img" '
        f'aria-label="{named}">'
        f"<title>{named}</title><style>{style}</style>{''.join(parts)}</svg>\n"
    )


def _svg_of(scene: Scene, steps: int, seconds: float) -> tuple[str, float, float]:
    """A scene with the input at the left and the output at the right; its width and height."""
    above, before, below, behind = scene.padding
    rows, columns = scene.input[0] + above + below, scene.input[1] + before + behind
    tall = max(rows, scene.output[0])
    right = columns + _GAP
    # Long maps of one row lie below one another.
    stacked = scene.input[0] == 1 and scene.output[0] == 1
    place = (0.5 + before, _HEAD + tall + 1.0) if stacked else (0.5 + right, _HEAD)
    width = 1.0 + (max(columns, scene.output[1] + before) if stacked else right + scene.output[1])
    width = max(width, 1.0 + _LETTER * len(scene.title))
    height = _HEAD + (2 * tall + 1.0 if stacked else tall) + 0.8
    origin = (0.5 + before, _HEAD + above)
    out = [f'<text x=".5" y="1.4">{escape(clean(scene.title))}</text>']
    if any(scene.padding):
        ring = ((r, c) for r in range(-above, scene.input[0] + below)
                for c in range(-before, scene.input[1] + behind)
                if not (0 <= r < scene.input[0] and 0 <= c < scene.input[1]))  # fmt: skip
        out.append(_cells("p", ring, origin))
    out.append(_cells("g", _all(scene.input), origin))
    out.append(_cells("o", _all(scene.output), place))
    for step in range(steps):
        frame = scene.frames[step * len(scene.frames) // steps]
        first = " first" if not step else ""
        out.append(
            f'<g class="f{first}" style="animation-delay:{(step - steps) * seconds:g}s">'
            f"{_cells('r', frame.read, origin, 0.12)}{_cells('m', [frame.at], place, 0.12)}</g>"
        )
    return "".join(out), width, height


def _cells(kind: str, cells: Iterable[Cell], origin: tuple[float, float], inset: float = 0) -> str:
    side = 1 - 2 * inset
    path = "".join(
        f"M{origin[0] + c + inset:g} {origin[1] + r + inset:g}h{side:g}v{side:g}h-{side:g}z"
        for r, c in cells
    )
    return f'<path class="{kind}" d="{path}"/>'


def _all(size: Cell) -> Iterable[Cell]:
    return product(range(size[0]), range(size[1]))


def _last_two(values: Sequence[int], missing: int) -> Cell:
    """The last two of some values along axes; along one axis there is one row."""
    rows, columns = (missing, *values) if len(values) == 1 else values[-2:]
    return rows, columns
