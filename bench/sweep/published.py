"""What the sweep publishes of each model, in words, and how another reading differs from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
COSTS = HERE / "costs.json"

Entry = Mapping[str, Any]

MODELS = {
    line.split()[0]: frozenset(line.split()[1:])
    for line in (HERE / "models.txt").read_text().splitlines()
    if line and not line.startswith("#")
}
"""The models by name, and what is noted behind them: `onnx`, `watched`."""
WATCHED = tuple(name for name, marks in MODELS.items() if "watched" in marks)
"""Those that the tests read again."""

KINDS = {
    "exact": "complete; nothing but a head (or nothing at all) mixes all positions",
    "global": "complete; some op inside mixes all positions, and is named",
    "partial": "some ops are not followed, and are named with the reason",
    "unprobed": "the probe says nothing",
    "not run": "not built, not read, or not measured",
    "disagrees": "a footprint and the model differ",
}
COMPARED = ("size", "params", "macs", "field")


def results() -> dict[str, dict[str, Any]]:
    """All that is published, by model."""
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text())
    return found


def costs() -> dict[str, dict[str, Any]]:
    """What models cost as reported and as PyTorch has them, by model."""
    found: dict[str, dict[str, Any]] = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    return found


def read_as(entry: Entry) -> str:
    """What the reading alone came to: exact, global or partial, or not run."""
    if "complete" not in entry:
        return "not run"
    if not entry["complete"]:
        return "partial"
    return "exact" if not entry["global"] or entry["only_head_global"] else "global"


def kind_of(entry: Entry) -> str:
    """Which row of the table a model counts in."""
    status = entry["status"]
    if status in ("disagrees", "unprobed"):
        return str(status)
    return read_as(entry) if status == "agrees" else "not run"


def differences(published: Entry, found: Entry) -> tuple[str, ...]:
    """How a reading differs from the published one, in words; nothing where it does not.

    >>> one = {"complete": True, "global": False, "params": 9, "macs": 81, "field": [3]}
    >>> differences(one, one)
    ()
    >>> differences(one, one | {"complete": False, "opaque": ["sort: has no rule"], "macs": 0})
    ('was exact, is partial (sort: has no rule)', 'macs were 81, are 0')
    """
    before, now = read_as(published), read_as(found)
    said = []
    if before != now:
        why = "; ".join(found.get("opaque", ())) or found.get("reason", "")
        said.append(f"was {before}, is {now}" + (f" ({why})" if why else ""))
    said += [
        f"{key} were {published.get(key)}, are {found.get(key)}"
        for key in COMPARED
        if published.get(key) != found.get(key)
    ]
    return tuple(said)
