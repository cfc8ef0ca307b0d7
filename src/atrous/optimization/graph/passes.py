"""The passes over a traced graph, in the order in which they run.

A pass changes a graph to compute the same in another way; what it leaves without use is dropped.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import Graph

from atrous.optimization.graph.clean import clean, drop_unused
from atrous.optimization.graph.fold import fold
from atrous.optimization.graph.fuse import fuse
from atrous.optimization.graph.growing import grow_joins
from atrous.optimization.graph.in_place import overwrite
from atrous.optimization.graph.norms import take_apart
from atrous.optimization.graph.one_pass import in_one_pass
from atrous.optimization.graph.split import split
from atrous.optimization.graph.steady import take_out_steady

__all__ = ["PASSES", "Pass", "lowered"]

Pass = Callable[[Graph], None]

PASSES: tuple[Pass, ...] = (
    clean,
    fold,
    split,
    take_out_steady,
    fuse,
    take_apart,
    in_one_pass,
    grow_joins,
    overwrite,
)


def lowered(graph: Graph) -> Graph:
    """The graph after all passes: folded, fused, joined, and working in place where it may."""
    for change in PASSES:
        change(graph)
        drop_unused(graph)
    return graph
