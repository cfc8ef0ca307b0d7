"""`stack`: the notation for networks in one line, and how a text in it is read."""

from __future__ import annotations

from typing import Annotated

import typer

from atrous.cli.options import Json
from atrous.cli.output import show, show_json
from atrous.cli.sources import given_stack

__all__ = ["stack"]


def stack(
    text: Annotated[
        str, typer.Argument(metavar="STACK", help="The stack, in quotes.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """How a stack is read, layer by layer; and here, how stacks are written.

    A stack is a network in one line, in quotes: layers run from left to right, with spaces between
    them. "stack:k3s2x64 k3d2" is a SOURCE of the other commands. A layer is its kind, then letters
    with numbers, in any order, without spaces.

    Kinds:

    - (nothing) convolution; `dw` depthwise convolution; `tconv` transposed convolution

    - `max`, `avg` pools; `up` nearest upsampling by its stride: `ups2`; `global` average over all
      positions

    Letters:

    - `k3` kernel, 3 along every axis, needed by all but `up` and `global`; `s2` stride, 1 if left
      out, for pools too; `d2` dilation, 1 if left out; `k(1,7)` has one number for each axis, as
      `s` and `d` may

    - `x64` output channels; left out, as many as come in. Not for pools, `up` and `global`. The
      first number of channels is that of --input

    - padding: `same` if left out, which adds extent - 1 in all whatever the stride, so that sizes
      are divided by the stride and rounded up (in a `tconv`: multiplied by it); `valid` none;
      `causal` in front, so that nothing later is read, along every axis; `p(LO,HI)` or `p1` so
      many

    Branches stand in brackets; each is a stack itself, and all of them read the same map:

    - `[k3 | k3d2]` concatenates channels; `[k3 + k3d2]` adds, which needs equal channels

    - `[ + k3 k3]` one branch may be empty: the map itself, as in a residual block or a skip

    - `[k3 [a | b] | k1]` brackets nest; `k3*4` and `[ + k3 k3]*4` repeat what stands before

    - branches end at one size; after `global` the single position is spread to that of the others

    There are no activations, norms or biases: they read nothing more, leave them out. A gate (GLU,
    squeeze and excitation) is written as a sum: it reads and costs the same. There is no attention,
    recurrence or linear upsampling; a stack has one input and one output.

    Recipes:

    - dilated: `k3 k3d2 k3d4 k3d8`

    - depthwise separable: `dwk3 k1x128`

    - residual block: `[ + k3 k3]`; with stride or other channels: `[k1s2x128 + k3s2x128 k3x128]`

    - dense block: `[ | k3x32]*4`; squeeze and excitation: `[ + global k1x16 k1x64]`

    - causal TCN (--input 1,64,1000): `[ + k3causal k3causal] [ + k3d2causal k3d2causal]`, and so
      on with rates 4, 8, 16

    - WaveNet block: `[ + [k2d4causal + k2d4causal] k1]`

    - ASPP with image pooling:
      `[k1x256 | k3d6x256 | k3d12x256 | k3d18x256 | global k1x256] k1x256`

    - U-Net: `k3x32 [ | maxk2s2 k3x64 [ | maxk2s2 k3x128 ups2] k3x64 ups2] k3x32`

    - encoder and decoder: `k3s2x32 k3s2x64 tconvk4s2x32 tconvk4s2x16`

    Try one: atrous stack "k3s2x64 [k3d6 | k3d12]", then atrous inspect "stack:..." --input
    1,3,64,64, whose sizes are one number for sound, two for images and three for volumes.
    """
    from atrous.network.stack import stack_parts
    from atrous.report import StackView
    from atrous.report.stack import parts_to_dict

    given = given_stack(text, "stack")
    parts = stack_parts(given)
    if json:
        show_json({"schema": "atrous.stack/1", "stack": given, "layers": parts_to_dict(parts)})
    else:
        show(StackView(parts))
