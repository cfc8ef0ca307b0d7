"""The stack notation: layers in one line of text, such as `k3s2x64 [k3d6 | k3d12] maxk2s2`.

May import: `network.builder` and what it builds with.
`records` are what a text says, `words` reads one layer, `notation` the whole text, `build` makes
the network. A new kind of layer is a name in `records`, what it takes in `words`, a case in
`build`, a row of docs/stacks.md and of the help in `cli/stack.py`, and a case in
`tests/parity/stacks.py`.
"""

from atrous.network.stack.build import stack_network
from atrous.network.stack.notation import parse_stack, stack_parts
from atrous.network.stack.records import StackJoin, StackLayer, StackPart

__all__ = ["StackJoin", "StackLayer", "StackPart", "parse_stack", "stack_network", "stack_parts"]
