"""Who imports whom, file by file, wherever in the file, and imports by a string too."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

__all__ = ["circles", "import_graph"]

Graph = Mapping[str, set[str]]


def import_graph(package: Path) -> Graph:
    """Module -> modules of the same package that it names.

    A string that is the name of a module counts where it is handed to a call, whatever the call is
    named: `import_module("atrous.report")`. What a package's own resources are asked for does not,
    nor does the package's own name, which is also that of its distribution and its operators.
    """
    files = {_dotted(path, package): path for path in package.rglob("*.py")}
    return {
        name: {found for found in _named(path, name, files) if found != name}
        for name, path in files.items()
    }


def circles(graph: Graph) -> list[list[str]]:
    """Groups of modules that reach one another, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def _dotted(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _naming(text: str) -> list[ast.AST]:
    """What may name a module; kept, as spoilt copies of the package differ in one file."""
    kinds = (ast.Import, ast.ImportFrom, ast.Call)
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]


def _named(path: Path, name: str, files: Mapping[str, Path]) -> Iterator[str]:
    here = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in _naming(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = here.split(".")[: len(here.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield from ([inner] if inner in files else [base] if base in files else [])
        elif isinstance(node, ast.Call):
            for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
                text = value.value if isinstance(value, ast.Constant) else None
                if isinstance(text, str) and "." in text and text in files and text != here:
                    yield text
