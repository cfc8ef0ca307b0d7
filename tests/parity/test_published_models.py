"""What is published of real models is what this code says of them, read again."""

from __future__ import annotations

from typing import Any

import pytest

from atrous.readers.torch import windows  # noqa: F401 - registers translations
from atrous.readers.torch.call import TRANSLATIONS
from tests.processes import ROOT

if not (ROOT / "bench").exists():
    pytest.skip("a source distribution has no benches", allow_module_level=True)

from bench.sweep.published import HERE, WATCHED, costs, differences, read_as, results
from bench.sweep.reading import read
from bench.sweep.table import document

PUBLISHED = results()


def assert_as_published(name: str, found: dict[str, Any]) -> None:
    said = differences(PUBLISHED[name], found)
    assert not said, (
        f"{name} {'; '.join(said)}. Mend what made it worse; where the new reading is the right "
        f"one, publish it: python bench/sweep/sweep.py --only {name} --again && "
        "python bench/sweep/table.py"
    )


@pytest.mark.parametrize("name", WATCHED)
def test_a_model_reads_as_published(name: str) -> None:
    assert_as_published(name, read(name)[2])


def test_the_sample_is_of_many_kinds() -> None:
    assert len({name.partition(":")[2][:4] for name in WATCHED}) >= 25
    assert {read_as(PUBLISHED[name]) for name in WATCHED} >= {"exact", "global"}


def test_the_table_is_that_of_the_results() -> None:
    assert (HERE / "README.md").read_text("utf-8") == document(PUBLISHED, costs()), (
        "run python bench/sweep/table.py"
    )


def test_a_verdict_that_worsens_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "timm:darknet17"
    monkeypatch.delitem(TRANSLATIONS, "aten.conv2d")
    _, _, found = read(name)
    with pytest.raises(AssertionError, match=r"was exact, is partial .*sweep\.py --only"):
        assert_as_published(name, found)


@pytest.mark.parametrize("key", ["params", "macs", "field", "size"])
def test_a_number_that_changes_is_noticed(key: str) -> None:
    name = WATCHED[0]
    with pytest.raises(AssertionError, match=f"{name} {key} were"):
        assert_as_published(name, PUBLISHED[name] | {key: None})
