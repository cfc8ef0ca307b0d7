"""Known networks, written with the builder: no framework is needed to ask what they see.

May import: `network.builder` and what it builds with.
A new family is one file; each network is one function under `@known`, from which `zoo:NAME` finds
it, and a test compares it with a published figure or a model.
"""

# The order here is the order in which `names()` lists the families.
from atrous.network.zoo import (  # isort: skip
    classic,
    inception,
    resnet,
    densenet,
    drn,
    mobilenet,
    van,
    unet,
    fcn,
    deeplab,
    linknet,
    espnet,
    regseg,
    audio,
    text,
)
from atrous.network.zoo.registry import Entry, build, entry, known, names

__all__ = ["Entry", "build", "entry", "known", "names"]

_FAMILIES = (
    classic,
    inception,
    resnet,
    densenet,
    drn,
    mobilenet,
    van,
    unet,
    fcn,
    deeplab,
    linknet,
    espnet,
    regseg,
    audio,
    text,
)
