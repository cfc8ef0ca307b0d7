"""Modules whose code was traced and edited, with the state that they had."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Mapping
from itertools import count
from types import ModuleType
from typing import Any

from torch import nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.graph_module import reduce_graph_module

from atrous.frameworks.modules import complete, state_of, take_over
from atrous.frameworks.torch import without_module_stack

__all__ = ["Recoded", "RecodedGraph", "module_call", "recoded"]


def module_call(
    graph: Graph,
    before: Node,
    inputs: tuple[Any, ...],
    module: nn.Module,
    kind: str,
    extra: dict[str, nn.Module],
) -> Node:
    """A call of `module` in front of a node; it goes into `extra` under a name that nothing has."""
    taken = {node.target for node in graph.nodes if node.op == "call_module"} | extra.keys()
    name = next(name for i in count() if (name := f"atrous_{kind}{i}") not in taken)
    extra[name] = module
    with graph.inserting_before(before):
        return graph.call_module(name, inputs)


def recoded(
    root: nn.Module, graph: Graph, extra: Mapping[str, nn.Module], *, whole: bool
) -> nn.Module:
    """A module that runs `graph` on the state of `root`, with the modules `extra` beside its own.

    A `whole` model becomes a `GraphModule`. A part of one becomes a `Recoded`, since exports do not
    say of the code in a `GraphModule` which module it belongs to.
    """
    if not whole:
        return Recoded(root, graph, extra)
    for name, module in extra.items():
        root.add_module(name, module)
    try:
        made = RecodedGraph(root, graph, type(root).__name__)
    finally:
        for name in extra:
            delattr(root, name)
    complete(made, root, RecodedGraph)
    return made


class Recoded(nn.Module):
    """A module with the state and the attributes of another one, and code of its own.

    The code is Python that `torch.fx` writes; copies and pickles take it along as text.
    """

    def __init__(self, root: nn.Module, graph: Graph, extra: Mapping[str, nn.Module]) -> None:
        super().__init__()
        take_over(self, root, extra)
        written = graph.python_code("self")
        self._source = written.src
        self._names = {
            name: _Named(value.__name__) if isinstance(value, ModuleType) else value
            for name, value in written.globals.items()
        }
        self._runs = self._compiled()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the code makes."""
        return self._runs(self, *args, **kwargs)

    def extra_repr(self) -> str:
        """The code."""
        return str(self._source).strip()

    def _compiled(self) -> Any:
        names = {
            name: importlib.import_module(value.name) if isinstance(value, _Named) else value
            for name, value in self._names.items()
        }
        # Written by torch.fx from a module that this process already runs.
        exec(compile(self._source, "<recoded>", "exec"), names)  # noqa: S102
        return names["forward"]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_runs"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._runs = self._compiled()


class _Named:
    """A Python module by name, since modules themselves cannot be pickled."""

    def __init__(self, name: str) -> None:
        self.name = name


class RecodedGraph(GraphModule):
    """A `GraphModule` whose copies, pickled ones too, keep what its code does not use.

    `GraphModule` itself copies only the parameters and modules that its graph names, and forgets
    which buffers are not saved; a state dict would not fit any more.
    """

    def __init__(self, root: Any, graph: Graph, class_name: str = "GraphModule") -> None:
        without_module_stack(graph.nodes)
        super().__init__(root, graph, class_name)
        without_module_stack(self.graph.nodes)

    def __deepcopy__(self, memo: dict[int, Any]) -> RecodedGraph:
        made: RecodedGraph = super().__deepcopy__(memo)
        held = nn.Module()
        held.__dict__.update(copy.deepcopy(state_of(self), memo))
        complete(made, held, RecodedGraph)
        made.train(self.training)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        _, arguments = super().__reduce__()
        return _restored, arguments


def _restored(*arguments: Any) -> RecodedGraph:
    """A pickled `RecodedGraph` again."""
    held = nn.Module()
    held.__dict__.update(
        {name: value for name, value in arguments[0].items() if name in held.__dict__}
    )
    plain = reduce_graph_module(*arguments)
    made = RecodedGraph(
        plain, plain.graph, arguments[0].get("_graphmodule_cls_name", "GraphModule")
    )
    complete(made, held, RecodedGraph)
    made.train(held.training)
    return made
