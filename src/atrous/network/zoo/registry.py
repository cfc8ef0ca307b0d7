"""The known networks by name, and how they are built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from atrous.errors import NetworkError
from atrous.network.builder import Builder
from atrous.network.records import Network, Tensor
from atrous.registry import Registry
from atrous.shown import how_many

__all__ = ["Body", "Entry", "build", "entry", "known", "names"]

Body = Callable[[Builder, Tensor], Tensor | tuple[Tensor, ...]]
"""What a known network is: layers added behind an input, and its output, or several.

Of several outputs the last is the one that the network is made for.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A known network: what it is, where it comes from, and the input that it is usually given."""

    name: str
    summary: str
    shape: tuple[int, ...]
    source: str
    body: Body = field(repr=False, compare=False)

    def build(self, shape: Sequence[int] | None = None) -> Network:
        """The network on an input of `shape`, with batch and channels; left out, the usual one.

        Raises `NetworkError` for a shape with another number of dimensions, `NetworkError` or
        `GeometryError` naming the layer that an input is too small for.
        """
        shape = self.shape if shape is None else tuple(shape)
        if len(shape) != len(self.shape):
            usual = ",".join(map(str, self.shape))
            raise NetworkError(
                f"{self.name}: an input of {how_many(len(shape), 'dimension')}, where it takes "
                f"{len(self.shape)}; give batch, channels and "
                f"{len(self.shape) - 2} spatial sizes, such as {usual}."
            )
        b = Builder(self.name)
        outputs = self.body(b, b.input("x", shape))
        return b.build(outputs) if isinstance(outputs, Tensor) else b.build(*outputs)

    def to_dict(self) -> dict[str, object]:
        """Plain data, for JSON."""
        return {
            "name": self.name,
            "summary": self.summary,
            "shape": list(self.shape),
            "source": self.source,
        }

    def __str__(self) -> str:
        return f"{self.name}: {self.summary} ({self.source})"


_KNOWN = Registry[str, Entry]("network")


def known(
    name: str, summary: str, *, shape: tuple[int, ...], source: str
) -> Callable[[Body], Body]:
    """Register a network's body under `name`."""

    def register(body: Body) -> Body:
        _KNOWN[name] = Entry(name, summary, shape, source, body)
        return body

    return register


def names() -> tuple[str, ...]:
    """The names of all known networks, family by family.

    >>> from atrous.network import zoo
    >>> "resnet50" in zoo.names()
    True
    """
    return tuple(_KNOWN)


def entry(name: str) -> Entry:
    """The known network of that name. Raises `UnknownNameError`, listing the near names.

    >>> from atrous.network import zoo
    >>> print(zoo.entry("resnet50"))
    resnet50: ResNet-50, stride in the 3x3 convolutions (He et al. 2015, as in torchvision)
    """
    return _KNOWN[name]


def build(name: str, shape: Sequence[int] | None = None) -> Network:
    """The known network of that name on an input of `shape`; left out, the usual one.

    >>> from atrous.network import zoo
    >>> net = zoo.build("resnet50", (1, 3, 64, 64))
    >>> net.param_count, net.tensor("layer4.2.add").shape
    (25557032, (1, 2048, 2, 2))
    """
    return entry(name).build(shape)
