"""Ten stacks that teach, each with what to look at."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A stack, an input, a second stack to compare with, and what the two show."""

    title: str
    stack: str
    input: tuple[int, ...]
    beside: str
    lesson: str
    output_stride: int = 0


PRESETS = (
    Preset(
        "Stride against dilation",
        "k3s2 k3s2 k3",
        (1, 8, 64, 64),
        "k3 k3d2 k3d4",
        "Both stacks see 15 positions. The strided one keeps every 4th output at an eighth of the "
        "cost; the dilated one keeps all. Each strided output is one of the dilated outputs.",
    ),
    Preset(
        "Growth with depth",
        "k3 k3d2 k3d4 k3d8",
        (1, 8, 64, 64),
        "k3 k3 k3 k3",
        "With rates that double, the field doubles with each layer: 3, 7, 15, 31. Without dilation "
        "each layer adds 2: 3, 5, 7, 9. Both cost the same.",
    ),
    Preset(
        "Gridding",
        "k3d2 k3d2 k3d2",
        (1, 8, 64, 64),
        "k3 k3d2 k3d3",
        "Three layers of rate 2 see 13 positions and read 7 of them: every second one is a hole. "
        "Rates 1, 2, 3 see the same 13 and read all. Apply the fix below.",
    ),
    Preset(
        "Checkerboard",
        "k3 tconvk3s2",
        (1, 8, 32, 32),
        "k3 tconvk4s2",
        "A kernel of 3 at stride 2 gives outputs one and two contributions in turn. A kernel that "
        "the stride divides gives each the same number.",
    ),
    Preset(
        "Same against valid",
        "k3valid k3valid k3valid k3valid",
        (1, 8, 32, 32),
        "k3 k3 k3 k3",
        "Without padding each layer takes two positions away, and every output sees only the "
        "input. With padding the map keeps its size, and outputs near the border read zeros.",
    ),
    Preset(
        "Strided convolution against pooling",
        "k3 maxk2s2 k3 maxk2s2",
        (1, 8, 64, 64),
        "k3s2 k3s2",
        "Pooling keeps the convolution at full resolution before it and sees 10 positions, at "
        "four times the cost; striding the convolutions sees 7.",
    ),
    Preset(
        "WaveNet",
        "k2causal k2d2causal k2d4causal k2d8causal",
        (1, 32, 64),
        "k2causal k2causal k2causal k2causal",
        "Causal layers pad before only: an output never reads what comes later. Rates 1, 2, 4, 8 "
        "see 16 samples with 4 layers of kernel 2.",
    ),
    Preset(
        "ASPP at the wrong size",
        "k3d36",
        (1, 8, 33, 33),
        "k3d6",
        "On a map of 33x33 a window of rate 36 has only its middle tap inside: the 3x3 layer is a "
        "1x1 layer. Rates are made for one input size.",
    ),
    Preset(
        "U-Net's phases",
        "k3 maxk2s2 k3 tconvk2s2 k3",
        (1, 8, 32, 32),
        "k3 maxk2s2 k3 ups2 k3",
        "After upsampling, outputs in even and odd places read differently: the field depends on "
        "the phase. The table states the largest, and how many phases there are.",
    ),
    Preset(
        "Converting to output stride 8",
        "k3s2 k3s2 k3s2 k3s2 k3s2 k3",
        (1, 8, 128, 128),
        "k3s2 k3s2 k3s2 k3 k3d2 k3d4",
        "A backbone of output stride 32. Convert it to 8: strides go, and what follows is dilated, "
        "so that every 4th output is what it was, with the same weights.",
        8,
    ),
)
"""In the order in which they teach."""
