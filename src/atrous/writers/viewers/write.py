"""Writes what viewers show: a copy of an ONNX file for netron, node data for Model Explorer."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atrous.analysis import Inspection
from atrous.errors import ReadError
from atrous.readers.kind import kind_of
from atrous.readers.onnx.file import load
from atrous.writers.onnx.save import save_onnx
from atrous.writers.viewers.facts import node_facts
from atrous.writers.viewers.graph import named_nodes, several_results
from atrous.writers.viewers.model_explorer import write_node_data
from atrous.writers.viewers.netron import annotate_model

__all__ = ["Annotated", "annotation_target", "write_annotation"]


@dataclass(frozen=True, slots=True)
class Annotated:
    """The files written, and how many of the graph's nodes they say something of."""

    files: tuple[Path, ...]
    noted: int
    nodes: int


def annotation_target(source: Any, target: str | os.PathLike[str]) -> Path:
    """Where to write, looked at before any work is done: an `.onnx` file, or a folder.

    Raises `ReadError` where nothing can be written there, where it is the source itself, or where
    the source has no graph that a viewer shows.
    """
    path, kind = Path(target), kind_of(source)
    if kind not in ("file", "message", "program"):
        raise ReadError(
            "viewers show the nodes of an ONNX file or of an exported program; give one of these: "
            "torch.onnx.export(model, args, 'model.onnx'), torch.export.export(model, args)."
        )
    if path.is_dir():
        return path
    if path.suffix.lower() != ".onnx":
        raise ReadError(
            f"{target} is no folder and no .onnx file; name an .onnx file to write, which netron "
            "shows, or a folder that is there, for the node data of Model Explorer."
        )
    if kind == "program":
        raise ReadError(f"{target}: an exported program is no ONNX file; name a folder.")
    if not path.parent.is_dir():
        raise ReadError(f"{target}: there is no folder {path.parent}.")
    if kind == "file" and path.exists() and Path(source).exists() and path.samefile(source):
        raise ReadError(f"{target} is the source itself; name another file.")
    return path


def write_annotation(source: Any, path: Path, report: Inspection) -> Annotated:
    """Writes what `report` says of each node of `source` to a target that was looked at."""
    kind = kind_of(source)
    loaded = None if kind == "program" else load(source)
    model = source if loaded is None else loaded.model
    several = several_results(model)
    facts = {
        origin: replace(one, layer=None) if origin in several else one
        for origin, one in node_facts(report).items()
    }
    if path.is_dir():
        names = named_nodes(model)
        by_id = {names[origin]: one for origin, one in facts.items() if origin in names}
        stem = Path(source).stem if kind == "file" else "model"
        graph = model.graph_module.graph.nodes if loaded is None else model.graph.node
        return Annotated(write_node_data(by_id, path, stem), len(by_id), len(graph))
    if kind == "message":
        copy = type(model)()
        copy.CopyFrom(model)
        model = copy
    noted = annotate_model(model, facts)
    files = save_onnx(model, path, source=Path(source) if kind == "file" else None)
    return Annotated(files, noted, len(model.graph.node))
