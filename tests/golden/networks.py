"""Small networks whose reports show everything that a report can say."""

from __future__ import annotations

from atrous import Builder, Network
from atrous.network.ops import Opaque


def gridded() -> Network:
    """A stack with holes, one axis unlike the other, and a name longer than a column."""
    b = Builder("gridded")
    x = b.input("x", (1, 3, 64, 48))
    name = "backbone.features.with_a_long_name.stage1.block0"
    x = b.conv(x, 8, 3, stride=2, padding=1, name=f"{name}.conv")
    x = b.batch_norm(x, name=f"{name}.bn")
    x = b.relu(x, name=f"{name}.relu")
    x = b.conv(x, 16, 3, dilation=2, padding=2, groups=4, name="stage2.conv1")
    x = b.conv(x, 16, (3, 5), dilation=(2, 4), padding=(2, 8), groups=16, name="stage2.conv2")
    return b.build(x)


def decoder() -> Network:
    """Down and up again: outputs whose field depends on their phase, and two of them."""
    b = Builder("decoder")
    x = b.input("x", (2, 1, 64))
    skip = b.conv(x, 4, 3, padding=1, bias=True, name="down1")
    low = b.pool(skip, 2, name="pool")
    low = b.conv(low, 8, 5, padding=2, name="down2")
    up = b.conv_transpose(low, 4, 2, stride=2, name="up")
    x = b.conv(b.concat(skip, up), 4, 3, padding=1, name="out")
    return b.build(low, x)


def excited() -> Network:
    """Squeeze and excitation: an op that mixes all positions, and 3-D inputs."""
    b = Builder("excited")
    x = b.input("x", (1, 4, 8, 16, 16))
    x = b.conv(x, 8, 3, padding=1, name="conv")
    gate = b.global_pool(x, name="se.pool")
    gate = b.conv(gate, 8, 1, name="se.fc")
    gate = b.pointwise(gate, label="sigmoid", name="se.sigmoid")
    return b.build(b.join(x, gate, label="mul"))


def partial() -> Network:
    """Something that nobody understands, and a branch that does not depend on it."""
    b = Builder("partial")
    x = b.input("x", (1, 3, 32, 32))
    y = b.conv(x, 8, 3, padding=1, name="conv")
    z = b.add(Opaque("roi_align", "no rule for roi_align", (4, 8, 7, 7)), y, name="heads.roi")
    z = b.conv(z, 2, 1, name="heads.classify")
    return b.build(y, z)


ALL = {made.__name__: made for made in (gridded, decoder, excited, partial)}
