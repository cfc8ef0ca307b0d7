"""`explain`: what each layer adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atrous.analysis.explained import Explained, explain_report
from atrous.analysis.inspection import inspect_network
from atrous.errors import ReadError
from atrous.readers import read
from atrous.readers.kind import kind_of

__all__ = ["explain"]


def explain(
    source: Any,
    input: Any = None,
    *,
    output: str | None = None,
    values: Mapping[str, Any] | None = None,
    structure_only: bool = False,
) -> Explained:
    """What each layer of `source` adds: field, holes opened or closed, sub-grids, cost.

    For every layer, along each axis of the input, the field before it and behind it, coverage,
    longest gap and step on both sides, and whether neighbouring outputs of the network read
    disjoint sub-grids of what it reads; its MACs and their share, parameters, and the bytes alive
    while it runs. Arguments are those of `inspect`, of whose report it is another reading:
    `.report` has that. What `optimize` chose for each layer is another question, which its result
    answers itself: `fast.explain()`; without `input` a `ReadError` says so.

    >>> import atrous
    >>> told = atrous.explain("stack:k3 k3d2 k3d4", (1, 8, 64, 64))
    >>> [(one.name, one.axes[0].added, one.axes[0].grid, round(one.share, 2)) for one in told]
    [('conv1', 2, 1, 0.33), ('conv2', 4, 2, 0.33), ('conv3', 8, 4, 0.33)]
    """
    if input is None and kind_of(source) == "module":
        from atrous.optimization.module import Optimized

        if isinstance(source, Optimized):
            raise ReadError(
                "what optimize chose for each layer, its result says itself: call its .explain(); "
                "for what each layer sees and costs give input=..., such as input=(1, 3, 224, 224)."
            )
    network = read(source, input, values=values, structure_only=structure_only)
    return explain_report(inspect_network(network, output=output))
