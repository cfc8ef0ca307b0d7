"""Every input of the corpus through its target again: no crash, no hang."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import MOST_SECONDS, onnx_files, requests, saved_files, stacks

CORPUS = Path(__file__).parent / "corpus"
TARGETS = {
    "onnx_files": onnx_files,
    "requests": requests,
    "saved_files": saved_files,
    "stacks": stacks,
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_brings_no_crash_and_no_hang(name: str) -> None:
    target = TARGETS[name]
    held = sorted((CORPUS / name).iterdir())
    assert held
    for path in held:
        began = time.process_time()
        try:
            target.feed(path.read_bytes())
        except Exception as error:
            error.add_note(f"fed with {path}")
            raise
        assert time.process_time() - began < MOST_SECONDS, path


@pytest.mark.parametrize("name", TARGETS)
def test_changes_stay_close_enough_to_be_read(name: str) -> None:
    target = TARGETS[name]
    rng = Random(7)
    seeds = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    made = [target.changed(rng.choice(seeds), rng) for _ in range(40)]
    assert len(set(made)) > 20
    for data in made:
        target.feed(data)
