"""Reference pages: the help of each command, the public names, the known networks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import atrous
from atrous.analysis import inspect_network
from atrous.cli.app import app
from atrous.draw.units import quantity
from atrous.network import zoo
from website.tables import markdown_table

__all__ = ["api", "commands", "networks"]

ROOT = Path(__file__).resolve().parents[1]


def commands() -> str:
    """What `atrous VERB --help` prints, for each verb."""
    names = [str(one.name or one.callback.__name__) for one in app.registered_commands]  # type: ignore[union-attr]
    out = ["# Commands\n", f"```text\n{_help()}\n```\n"]
    for name in names:
        out += [f"## atrous {name}\n", f"```text\n{_help(name)}\n```\n"]
    return "\n".join(out)


def api() -> str:
    """Every public name, from its docstring."""
    out = ["# Python\n", "Everything here is in the package `atrous` itself.\n"]
    names = [name for name in atrous.__all__ if name != "__version__"]
    verbs = [name for name in names if name[0].islower()]
    errors = [name for name in names if name.endswith("Error")]
    records = [name for name in names if name not in verbs and name not in errors]
    for title, group in (("Functions", verbs), ("Records", records), ("Errors", errors)):
        out.append(f"## {title}\n")
        out += [f"::: {_home(name)}\n" for name in group]
    return "\n".join(out)


def networks() -> str:
    """The known networks: what each is, what it sees and costs, and where it comes from."""
    rows = []
    for name in zoo.names():
        entry = zoo.entry(name)
        report = inspect_network(entry.build())
        field = report.outputs[-1].field
        rows.append(
            [
                f"`zoo:{name}`",
                entry.summary,
                entry.source,
                quantity(report.params),
                "x".join(str(axis.size) for axis in field),
                quantity(report.macs, "MAC"),
            ]
        )
    heads = ["source", "what it is", "from", "parameters", "field", "products"]
    return f"---\nhide:\n  - toc\n---\n\n# Known networks\n\n{markdown_table(heads, rows, left=3)}"


def _home(name: str) -> str:
    found = getattr(atrous, name)
    return f"{found.__module__}.{found.__qualname__}"


def _help(*verb: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "atrous", *verb, "--help"],
        env=os.environ | {"COLUMNS": "96", "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())
