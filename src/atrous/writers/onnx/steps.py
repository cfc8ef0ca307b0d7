"""One change as it meets an ONNX node, and the table of functions that write changes into nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atrous.conversion.plan import OpChange
from atrous.network.ops import Op
from atrous.network.records import Node, Tensor
from atrous.registry import Registry
from atrous.writers.onnx.edit import Edit

if TYPE_CHECKING:
    import onnx

__all__ = ["WRITERS", "Step", "writes"]


@dataclass(frozen=True, slots=True)
class Step:
    """A change of a plan at an ONNX node.

    `after` is the op to write: the plan's, or one that holds at every size along the axes that the
    file leaves open, which `open` marks for each window. `x` is what the op reads after the
    conversion.
    """

    node: Node
    change: OpChange
    after: Op
    x: Tensor
    open: tuple[bool, ...] = ()


Writer = Callable[[Edit, "onnx.NodeProto", Sequence[Step]], None]
# Operator -> the function that writes changes into such a node. What has none is left as it is:
# a Flatten or a Squeeze follows its input by itself.
WRITERS = Registry[str, Writer]("writer")
writes = WRITERS.under
