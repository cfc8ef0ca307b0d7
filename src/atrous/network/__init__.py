"""A network as data: records, the op table, a builder, the stack notation, known networks.

May import: `geometry` and below; no framework, no numpy. Many a new op is one of those in `ops`
with another label. One that is not is a frozen record there, a rule in `rules/` that says what it
reads and makes, and its products in `costs`; `discover` tells which axes it slides along. Readers
then translate into it. A new known network is one function in `zoo/`.
"""

from atrous.network.builder import AXES, Builder
from atrous.network.discover import discover
from atrous.network.records import EagerRun, Network, Node, Param, Tensor, layer_names
from atrous.network.rules import layout, mixing, sampled, windows

__all__ = [
    "AXES",
    "Builder",
    "EagerRun",
    "Network",
    "Node",
    "Param",
    "Tensor",
    "discover",
    "layer_names",
]

_RULES = (layout, mixing, sampled, windows)
