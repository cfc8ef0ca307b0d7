"""The page without a server: what its workers ask for, answered by the same functions.

`transport.js` stands in for the server's, and `worker.js` runs Python; `export` writes both.
May import: what needs no library but `lazy_loader`, as the browser has no other.
A new address of the page is an entry of `_ANSWERS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from atrous.analysis import inspect_network
from atrous.errors import AtrousError
from atrous.explore.answers import beginning, edited, first_line, followed, improved
from atrous.explore.draft import MOST_POSITIONS, MOST_TEXT, shape_of
from atrous.explore.tables import LAYER_HEAD, layer_rows, totals
from atrous.network import zoo
from atrous.network.stack import stack_network

__all__ = ["replied"]

Asked = Mapping[str, Any]


def replied(path: str, text: str) -> str:
    """The answer, as JSON, to what the page asks for in JSON.

    >>> replied("/open", '{"name": "lenet"}')[:12]
    '{"problem":"'
    """
    try:
        found = _ANSWERS[path](json.loads(text))
    except AtrousError as error:
        found = {"problem": first_line(error)}
    except Exception as error:
        # The page goes on, and says so.
        found = {"problem": f"This cannot be shown: {type(error).__name__}."}
    return json.dumps(found, separators=(",", ":"))


def _opened(asked: Asked) -> dict[str, Any]:
    """The numbers of a known network, or of a stack with branches; charts need libraries."""
    if asked.get("stack"):
        name, shape = f"stack:{asked['stack']}", shape_of(str(asked.get("input", "")))
        if len(name) > MOST_TEXT or shape[2] > MOST_POSITIONS:
            return {"problem": "this stack, or its input, is too large for this page."}
        report = inspect_network(stack_network(str(asked["stack"]), shape))
    else:
        name = f"zoo:{asked.get('name', '')}"
        report = inspect_network(zoo.build(str(asked.get("name", ""))))
    return {
        "summary": {
            "name": name,
            "totals": totals(report),
            "head": LAYER_HEAD,
            "rows": layer_rows(report),
            "findings": [f"{one.severity}: {one.message}" for one in report.findings[:8]],
        }
    }


_ANSWERS: Mapping[str, Callable[[Asked], dict[str, Any]]] = {
    "/begin": lambda asked: beginning(str(asked.get("query", ""))),
    "/edit": edited,
    "/rest": followed,
    "/better": improved,
    "/open": _opened,
}
