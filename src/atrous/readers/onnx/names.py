"""The names that the user knows: which module a node or a weight came from."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from atrous.network.records import Param

if TYPE_CHECKING:
    import onnx

__all__ = ["Provenance", "module_of"]

_SCOPES = "pkg.torch.onnx.name_scopes"
_KIND = "pkg.torch.export.graph_signature.InputSpec.kind"
_FOLDED = "pkg.onnxscript.optimizer.folded_from"
# What exporters call numbers that are nobody's parameter, or whose name they lost.
_MADE = re.compile(r"(val_\d+|onnx::.*|/.*|\d+|_?const.*|.*[Cc]onstant.*|.*__\d+|.*_cast|.*:\d+)\Z")
_FOLDED_NAME = re.compile(r"val_\d+\Z")
_LONGEST = 10_000
_FROM_WEIGHT = frozenset(("Conv", "ConvTranspose", "Gemm", "FusedConv"))


def module_of(node: onnx.NodeProto, params: tuple[Param, ...]) -> str | None:
    """The module path of a node, from what exporters leave behind; None where nothing says.

    PyTorch's exporter lists the scopes, the TorchScript one writes them into the node's name, and
    the name of a weight is its module's path and one word more. A weight says more than the scopes
    where a batch norm was folded into the layer before it.
    """
    if node.op_type in _FROM_WEIGHT and (module := _from_params(params)) is not None:
        return module
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = _listed_strings(entry.value)
            if scopes:
                return ".".join(filter(None, scopes[-2:-1]))
    if node.name.startswith("/"):
        return _from_path(node.name)
    return _from_params(params)


def _listed_strings(text: str) -> list[str]:
    """A list of strings that a file holds as text; empty for anything else."""
    if len(text) > _LONGEST:
        return []
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    return value if isinstance(value, list) and all(isinstance(x, str) for x in value) else []


def _from_path(name: str) -> str:
    """The module in a node's name: `/layer4/layer4.2/conv2/Conv` is `layer4.2.conv2`."""
    # "/layer4/layer4.2/conv2/Conv": a step that begins with the step before it stands for both.
    steps: list[str] = []
    for step in name[1:].split("/")[:-1]:
        if steps and step.startswith(steps[-1] + "."):
            steps[-1] = step
        else:
            steps.append(step)
    return ".".join(steps)


def _from_params(params: tuple[Param, ...]) -> str | None:
    """The module of the first parameter whose name has one."""
    for param in params:
        module, dot, _ = param.name.rpartition(".")
        if dot and not _MADE.match(param.name) and "/" not in param.name:
            return module
    return None


class Provenance:
    """What the file says about where its constants come from."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._kinds: dict[str, str] = {}
        self._folded: dict[str, list[str]] = {}
        for info in graph.value_info:
            for entry in info.metadata_props:
                if entry.key == _KIND:
                    self._kinds[info.name] = entry.value
                elif entry.key == _FOLDED:
                    self._folded[info.name] = _listed_strings(entry.value)

    def is_parameter(self, name: str, count: int) -> bool:
        """True where a constant of that name, with that many numbers, is a parameter.

        A buffer is none, nor is a single number with a name that the exporter made up. What
        PyTorch's exporter folded is one if it was made from one.
        """
        kind = self._kinds.get(name)
        if kind is not None:
            return kind == "PARAMETER"
        if name in self._folded or (self._kinds and _FOLDED_NAME.match(name)):
            return any(self._named(source, count) for source in self._folded.get(name, ()))
        return count > 1 or self._named(name, count)

    def _named(self, name: str, count: int) -> bool:
        kind = self._kinds.get(name)
        if kind is not None:
            return kind == "PARAMETER"
        return not _MADE.match(name) and (count > 1 or "." in name)
