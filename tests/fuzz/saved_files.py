"""What is read back: a saved report, the settings of a project, rules and a file of choices.

The first line says which of them the rest is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random

from atrous.analysis import Inspection, inspect_network
from atrous.analysis.check import check_report
from atrous.analysis.requirements import parse_rules
from atrous.cli.settings import asked_in
from atrous.cli.sources import difference, position, shapes, values
from atrous.errors import AtrousError
from atrous.network.stack import stack_network
from atrous.shown import view
from tests.fuzz.values import changed_bytes, changed_json, changed_text

_FOLDER = tempfile.TemporaryDirectory()
WORDS = (
    *("[tool.atrous]", "[[tool.atrous.check]]", "source", "input", "=", '"', "[1, 3, 8, 8]"),
    *("receptive-field", "coverage", "output-stride", "macs", "memory", "look-ahead", "no"),
    *("<=", ">=", "==", "+2%", "1/2", "20G", "40ms", "8GiB", "100um", "x=1,3,8", ";", "true"),
)


@cache
def _report() -> Inspection:
    text = "k3s2x8 [k3d2 | maxk3s1] k3d4"
    return inspect_network(stack_network(text, (1, 3, 32, 32))).scaled(rate="16k")


def _saved(text: str) -> None:
    path = Path(_FOLDER.name, "old.json")
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    found = difference(str(path), _report(), ())
    found.to_json()
    view(found).html()
    assert str(found)


def _settings(text: str) -> None:
    path = Path(_FOLDER.name, "pyproject.toml")
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    for asked in asked_in(path):
        shapes(asked.inputs)
        values(asked.values)
        report = _report().scaled(rate=asked.rate, pixel=asked.pixel)
        str(
            check_report(
                report,
                [rule for rule in asked.rules if rule.quantity != "training-memory"],
                forbidden=asked.forbidden,
                layer=asked.layer,
                causal=asked.causal,
                baseline=report,
            )
        )


def _rules(text: str) -> None:
    for line in text.splitlines():
        quantity, _, rule = line.partition(" ")
        check_report(_report(), parse_rules(quantity, rule), baseline=_report())


def _options(text: str) -> None:
    lines = text.splitlines()
    for read in (shapes, values):
        with suppress(AtrousError):
            read(lines)
    for line in lines:
        position(line)


_KINDS: dict[str, Callable[[str], None]] = {
    "report": _saved,
    "settings": _settings,
    "rules": _rules,
    "options": _options,
}


def feed(data: bytes) -> None:
    """Reads it back, and shows what came of it."""
    kind, _, text = data.decode("utf-8", "surrogateescape").partition("\n")
    with suppress(AtrousError):
        _KINDS.get(kind, _saved)(text)


def changed(data: bytes, rng: Random) -> bytes:
    """Another file of the same kind, most often still valid JSON where it is a report."""
    kind, _, text = data.decode("utf-8", "surrogateescape").partition("\n")
    how = rng.randrange(8)
    if how == 0:
        return changed_bytes(data, rng)
    if how > 1 and kind == "report":
        try:
            made = changed_json(json.loads(text), rng, changed_text)
            return f"{kind}\n{json.dumps(made)}".encode()
        except (ValueError, RecursionError):
            pass
    return f"{kind}\n{changed_text(text, rng, WORDS)}".encode("utf-8", "surrogatepass")
