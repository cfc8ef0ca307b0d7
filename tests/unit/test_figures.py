"""Figures in README and docs that a bench measured are those in that bench."""

from __future__ import annotations

import json
import re

import pytest

from tests.processes import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def claims(text):
    """For each bench: the numbers of the sentences that lead to it."""
    for line in text.splitlines():
        for sentence in re.split(r"(?<=[.;]) (?=[A-Z`\[])", line):
            for bench in re.findall(r"\]\((?:\.\./)?(bench/\w+/README\.md)\)", sentence):
                yield bench, re.findall(r"\b\d{1,3}(?:,\d{3})+\b|\b\d{3}\b", sentence)


def assert_measured(text):
    for bench, numbers in claims(text):
        measured = (ROOT / bench).read_text(encoding="utf-8")
        held = set(re.findall(r"\d[\d,]*\d|\d", measured))
        results = (ROOT / bench).with_name("results.json")
        if results.exists():
            held.add(str(len(json.loads(results.read_text(encoding="utf-8")))))
        assert set(numbers) <= held, (bench, set(numbers) - held)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_figure_beside_a_bench_is_one_of_its_own(path):
    assert_measured(path.read_text(encoding="utf-8"))


def test_a_figure_of_an_earlier_run_is_noticed():
    with pytest.raises(AssertionError):
        assert_measured("[It](bench/sweep/README.md) makes 99,321 comparisons.")


@pytest.mark.parametrize(
    ("name", "said"),
    [("sweep", "{} models of timm"), ("convert", "{} models converted"),
     ("wild", "{} different ONNX files"), ("sizes", "{} models at"), ("training", "{} models.")],
)  # fmt: skip
def test_the_models_that_are_counted_are_those_of_the_results(name, said):
    results = json.loads((ROOT / "bench" / name / "results.json").read_text(encoding="utf-8"))
    assert said.format(len(results)) in (ROOT / "docs" / "verified.md").read_text(encoding="utf-8")
