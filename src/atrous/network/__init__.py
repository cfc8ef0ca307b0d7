"""A network as data: records, the op table, a builder, the stack notation, known networks."""

from atrous.network.builder import AXES, Builder
from atrous.network.discover import discover
from atrous.network.records import Network, Node, Param, Tensor
from atrous.network.rules import layout, mixing, windows

__all__ = ["AXES", "Builder", "Network", "Node", "Param", "Tensor", "discover"]

_RULES = (layout, mixing, windows)
