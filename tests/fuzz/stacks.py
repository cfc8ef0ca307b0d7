"""The stack notation: a line with the shape of the input, and the text."""

from __future__ import annotations

from random import Random

from atrous.analysis import inspect_network
from atrous.cli.sources import shapes
from atrous.errors import AtrousError
from atrous.network.stack import stack_network, stack_parts
from atrous.shown import view
from tests.fuzz.values import changed_text

WORDS = (
    *("k3", "k1", "dwk3", "maxk2s2", "avgk3s2p1", "tconvk4s2", "ups2", "global", "k(1,7)", "d2"),
    *("same", "valid", "causal", "p(1,2)", "p-1", "x64", "x1", "s2", " | ", " + ", "[", "]", "*3"),
    *("[k3 | k3d2]", "[ + k3 k3]", "k65536", "d65536", "s65536", "*4096", "x65536", "relu"),
    *("1,3,64,64", "1,1,16", "1,2,9,9,9", "1,3,4096,4096", "1,1,1,1", "2"),
)


def feed(data: bytes) -> None:
    """Reads a stack and reports on it, in words, as data and as a page's fragment."""
    shape, _, text = data.decode("utf-8", "replace").partition("\n")
    try:
        given = shapes([shape])
        parts = stack_parts(text)
        again = stack_parts(" ".join(map(str, parts)))
        assert again == parts, f"{parts} is written as {again}"
        if not isinstance(given, tuple) or not all(type(size) is int for size in given):
            return
        report = inspect_network(stack_network(text, given))
    except AtrousError:
        return
    report.to_json()
    view(report).html()
    assert str(report)


def changed(data: bytes, rng: Random) -> bytes:
    """Another text."""
    return changed_text(data.decode("utf-8", "replace"), rng, WORDS).encode("utf-8", "replace")
