"""What the page is told: the state after an edit, what follows from it, and what it begins with.

Every request carries the stack that the page shows, so nothing is kept here between two of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any
from zlib import crc32

from atrous.analysis import Inspection, compare_networks, usual_stacks
from atrous.errors import AtrousError, ReadError
from atrous.explore.better import better_than
from atrous.explore.code import CODES
from atrous.explore.converted import converted
from atrous.explore.draft import KINDS, BranchesError, Draft, layer_values, shape_of
from atrous.explore.fixes import fix_for
from atrous.explore.presets import PRESETS
from atrous.explore.sliding import sliding
from atrous.explore.tables import (
    LAYER_HEAD,
    SCHEME_HEAD,
    footprint_picture,
    headline,
    layer_rows,
    scheme_rows,
    totals,
)
from atrous.network import zoo
from atrous.network.stack import stack_network

__all__ = ["beginning", "edited", "first_line", "followed", "improved"]

Answer = dict[str, Any]
Asked = Mapping[str, Any]

MOST_FINDINGS = 8
PATIENCE = 0.3
"""Seconds for which fixes are looked for: each try is a report."""
_PARTS = frozenset({"kind", "kernel", "stride", "dilation", "padding", "channels"})


def beginning(query: str) -> Answer:
    """What the page shows first: the stack of its address, or the first preset and the reason."""
    preset = PRESETS[0]
    draft, beside, problem, branches = Draft.of(preset.stack, preset.input), preset.beside, "", ""
    if query:
        try:
            draft, beside = Draft.from_query(query), ""
        except AtrousError as error:
            problem = f"The stack in this address could not be read: {first_line(error)}"
            branches = query if isinstance(error, BranchesError) else ""
    return {
        "kinds": KINDS,
        "presets": [
            {
                "title": one.title,
                "stack": one.stack,
                "input": ",".join(map(str, one.input)),
                "beside": one.beside,
                "lesson": one.lesson,
                "outputStride": one.output_stride,
            }
            for one in PRESETS
        ],
        "known": list(zoo.names()),
        "codes": list(CODES),
        "heads": {"layers": LAYER_HEAD, "schemes": SCHEME_HEAD},
        "problem": problem,
        "branches": branches,
        "beside": beside,
        "state": _state(draft, draft.report(), len(draft.layers) - 1, {}),
    }


def edited(asked: Asked) -> Answer:
    """The state after an edit, or the `problem` that keeps it from being made.

    `asked` has the `stack`, `input` and `place` that are shown, what to `do`, and in `have` the
    digests of the parts that the page has; those that are the same are left out.
    """
    try:
        before = _draft(asked)
        draft, place, more = _done(before, _number(asked, "place"), _table(asked, "do"))
        place = min(max(place, 0), len(draft.layers) - 1)
        return _state(draft, draft.report(), place, _table(asked, "have")) | more
    except AtrousError as error:
        return {"problem": first_line(error), "branches": isinstance(error, BranchesError)}


def followed(asked: Asked, stop: Callable[[], bool] = lambda: False) -> Answer:
    """What is read after the pictures: findings with fixes, schemes beside it, and code.

    `stop` is asked between tries; `whole` says whether it never told to.
    """
    try:
        draft = _draft(asked)
        report = draft.report()
    except AtrousError as error:
        return {"problem": first_line(error)}
    beside, code = _text(asked, "beside"), _text(asked, "code")
    answer: Answer = {"stack": draft.text, "findings": _findings(draft, report, stop)}
    if stop():
        return answer | {"whole": False}
    answer |= _schemes(draft, beside)
    try:
        answer["code"] = CODES.get(code, CODES["PyTorch"])(draft)
    except AtrousError as error:
        answer["codeProblem"] = first_line(error)
    return answer | {"whole": True}


def improved(asked: Asked) -> Answer:
    """Schedules that see as far as the stack without holes for no more, or why there are none."""
    try:
        draft = _draft(asked)
        found = better_than(draft)
    except AtrousError as error:
        return {"problem": first_line(error)}
    return {
        "stack": draft.text,
        "said": found.said,
        "offers": [
            {"what": one.what, "stack": one.draft.text, "input": one.draft.shape_text}
            for one in found.offers
        ],
    }


def first_line(error: AtrousError) -> str:
    """Where a message also draws the place, its first line says it in words."""
    return str(error).splitlines()[0]


def _state(draft: Draft, report: Inspection, place: int, have: Asked) -> Answer:
    layer = draft.layers[place]
    parts: Answer = {
        "layers": [
            {"name": one.name, "text": str(one), **layer_values(one)} for one in draft.layers
        ],
        "dots": _dots(draft),
        "footprint": footprint_picture(report, layer.name),
        "slide": _slide(draft, place),
        "numbers": layer_rows(report),
        "headline": headline(report) | {"totals": totals(report)},
    }
    digests = {name: crc32(json.dumps(part).encode()) for name, part in parts.items()}
    return {
        "stack": draft.text,
        "input": draft.shape_text,
        "query": draft.query,
        "place": place,
        "have": digests,
        "parts": {n: part for n, part in parts.items() if have.get(n) != digests[n]},
    }


def _dots(draft: Draft) -> Answer:
    """The rows of the dot picture; what several rows read in the same way is sent once."""
    try:
        dots = draft.dots()
    except AtrousError as error:
        return {"problem": first_line(error)}
    known: dict[object, int] = {}
    rows = [
        {"name": row.name, "length": row.length, "reads": known.setdefault(row.reads, len(known))}
        for row in dots.rows
    ]
    axes = ("t",) if len(draft.shape) == 3 else ("h", "w") if len(draft.shape) == 4 else "dhw"
    return {
        "axis": dots.axis,
        "along": axes.index(dots.axis),
        "whole": draft.shape[-1],
        "rows": rows,
        "reads": list(known),
    }


def _slide(draft: Draft, place: int) -> Mapping[str, object]:
    try:
        return sliding(draft, place)
    except AtrousError as error:
        return {"problem": first_line(error)}


def _done(draft: Draft, place: int, do: Asked) -> tuple[Draft, int, Answer]:
    """The draft after what was asked for, the layer that is chosen then, and what else to say."""
    what = _text(do, "what")
    place = min(max(place, 0), len(draft.layers) - 1)
    if what == "show":
        return draft, place, {}
    if what == "stack":
        return Draft.of(_text(do, "text"), draft.shape), place, {}
    if what == "input":
        return Draft.of(draft.text, shape_of(_text(do, "text"))), place, {}
    if what == "part" and _text(do, "part") in _PARTS:
        return draft.with_text(place, _text(do, "part"), _text(do, "text")), place, {}
    if what == "add":
        return draft.added(place), place + 1, {}
    if what == "remove":
        return draft.removed(place), place, {}
    if what == "move":
        to = min(max(_number(do, "to"), 0), len(draft.layers) - 1)
        return draft.moved(place, to), to, {}
    if what == "convert":
        made, verdict = converted(draft, _number(do, "outputStride"))
        return made, place, {"verdict": verdict, "beside": draft.text}
    raise ReadError(f"{what[:20]!r} is no edit of this page.")


def _findings(draft: Draft, report: Inspection, stop: Callable[[], bool]) -> list[Answer]:
    until = monotonic() + PATIENCE
    found = []
    for finding in report.findings[:MOST_FINDINGS]:
        fix = fix_for(draft, finding, report, stop=lambda: stop() or monotonic() > until)
        found.append(
            {
                "severity": finding.severity,
                "code": finding.code,
                "layer": finding.layer,
                "message": finding.message,
                "fix": finding.fix,
                "mend": None
                if fix is None
                else {"what": fix.what, "stack": fix.draft.text, "input": fix.draft.shape_text},
            }
        )
    return found


def _schemes(draft: Draft, beside: str) -> Answer:
    texts, said = {"this stack": draft.text}, ""
    if beside.strip():
        try:
            texts["beside"] = Draft.of(beside, draft.shape).text
        except AtrousError as error:
            said = first_line(error)
    kernel = max(draft.layers[0].kernel[0], 2)
    # Where kernel or channels are beyond what is usual, there is nothing usual beside them.
    with suppress(AtrousError):
        texts |= usual_stacks(kernel, min(len(draft.layers), 6), draft.shape[1])
    networks, sources = {}, {}
    for name, text in texts.items():
        try:
            networks[name] = stack_network(text, draft.shape)
            sources[name] = text if len(text) < 60 else f"{text[:57]}..."
        except AtrousError:
            # One that does not fit this input has no row.
            continue
    return {"schemes": scheme_rows(compare_networks(networks, sources)), "besideProblem": said}


def _draft(asked: Asked) -> Draft:
    return Draft.of(_text(asked, "stack"), shape_of(_text(asked, "input")))


def _text(asked: Asked, name: str) -> str:
    found = asked.get(name, "")
    if not isinstance(found, str):
        raise ReadError(f"{name} is no text.")
    return found


def _number(asked: Asked, name: str) -> int:
    found = asked.get(name, 0)
    if type(found) is not int or abs(found) > 1 << 16:
        raise ReadError(f"{name} is no whole number.")
    return found


def _table(asked: Asked, name: str) -> Asked:
    found = asked.get(name, {})
    if not isinstance(found, dict):
        raise ReadError(f"{name} is no table.")
    return found
