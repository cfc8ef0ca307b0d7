"""What is published of conversions of real backbones is what this code makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.processes import ROOT

if not (ROOT / "bench").exists():
    pytest.skip("a source distribution has no benches", allow_module_level=True)

from bench.convert.sweep import HERE, RESULTS, STRIDES, WATCHED, converted, made
from bench.convert.table import document

PUBLISHED = json.loads(RESULTS.read_text("utf-8"))
COMPARED = ("verdict", "edits", "class", "keys")


def assert_as_published(name: str, stride: int, found: dict[str, Any]) -> None:
    before = PUBLISHED[name][str(stride)]
    said = [
        f"{key} was {before.get(key)}, is {found.get(key)}"
        for key in COMPARED
        if before.get(key) != found.get(key)
    ]
    why = found.get("refused") or "; ".join(found.get("causes", ()))
    assert not said, (
        f"{name} at output stride {stride}: {', '.join(said)} ({why}). Mend what made it worse; "
        f"where this is right, publish it: python bench/convert/sweep.py {name} --again && "
        "python bench/convert/table.py"
    )


@pytest.mark.parametrize("name", WATCHED)
def test_a_backbone_is_converted_as_published(name: str) -> None:
    model, layer, _ = made(name)
    for stride in STRIDES:
        assert_as_published(name, stride, converted(model, layer, stride)[1])


def test_the_sample_has_exact_and_approximate_ones() -> None:
    found = {e["verdict"] for n in WATCHED for e in PUBLISHED[n].values() if "verdict" in e}
    assert found >= {"exact", "approximate"}


def test_the_table_is_that_of_the_results() -> None:
    text = (HERE / "README.md").read_text("utf-8")
    assert text == document(text, PUBLISHED), "run python bench/convert/table.py"


def test_a_verdict_that_worsens_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from atrous.conversion import rules
    from atrous.network.ops import Pool

    monkeypatch.delitem(rules._RULES, Pool)
    name = "timm:resnet18d"
    model, layer, _ = made(name)
    _, found = converted(model, layer, 8)
    with pytest.raises(AssertionError, match=r"verdict was exact, is None.*\(layer3.*sweep\.py"):
        assert_as_published(name, 8, found)
