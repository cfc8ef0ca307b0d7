"""Node data for Google's Model Explorer: one JSON file for each quantity.

A file has `results`, from ids of nodes to `{"value": number}`, and `gradient`, the colours from the
least value to the largest (https://github.com/google-ai-edge/model-explorer, `node_data_builder`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from atrous.files import write_whole
from atrous.writers.viewers.facts import NodeFacts

__all__ = ["QUANTITIES", "node_data", "write_node_data"]

# Light to dark in one hue: order is seen in grey, and by those who see few colours.
_GRADIENT = ((0, "#f2f7fb"), (0.5, "#8fb8d8"), (1, "#1f5a8a"))

QUANTITIES: Mapping[str, Callable[[NodeFacts], float | None]] = {
    "receptive_field": lambda facts: facts.size,
    "output_stride": lambda facts: None if facts.stride is None else float(facts.stride),
    "unread_percent": lambda facts: None if facts.unread is None else round(100 * facts.unread, 6),
    "macs": lambda facts: facts.macs,
    "activation_bytes": lambda facts: facts.activation_bytes,
}
"""What there is a file of, and its value of a node; None leaves the node out."""


def node_data(facts: Mapping[str, NodeFacts], quantity: str) -> dict[str, object]:
    """The node data of one quantity, by the ids of the nodes."""
    value = QUANTITIES[quantity]
    found = {name: value(one) for name, one in facts.items()}
    return {
        "results": {
            name: {"value": number} for name, number in found.items() if number is not None
        },
        "gradient": [{"stop": stop, "bgColor": colour} for stop, colour in _GRADIENT],
    }


def write_node_data(facts: Mapping[str, NodeFacts], folder: Path, name: str) -> tuple[Path, ...]:
    """Writes `NAME.QUANTITY.json` for each quantity into the folder; the files written."""
    files = []
    for quantity in QUANTITIES:
        path = folder / f"{name}.{quantity}.json"
        write_whole(path, json.dumps(node_data(facts, quantity), indent=1) + "\n")
        files.append(path)
    return tuple(files)
