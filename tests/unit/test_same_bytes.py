"""The same input makes the same bytes: text, JSON, pages, pictures, models, the explorer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT, environment
from tests.same_bytes import write_everything


def _written(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    write_everything(here)
    # Sets in another order than here, whatever that is; and other threads.
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    subprocess.run(
        [sys.executable, "-m", "tests.same_bytes", str(there)],
        cwd=ROOT,
        env=environment() | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "3", "TZ": "Asia/Tokyo"},
        check=True,
        timeout=300,
    )
    one, two = _written(here), _written(there)
    assert len(one) > 40
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []
