"""The page's server as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.processes import ROOT, environment


@contextmanager
def explorer(*arguments: str) -> Iterator[str]:
    """The address of a running `atrous explore`; what it says on standard error is an error."""
    with subprocess.Popen(
        [sys.executable, "-m", "atrous", "explore", "--no-open", *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("atrous explore: http://127.0.0.1:"), process.stderr.read()
            yield line.split()[2].rstrip("/")
            assert process.poll() is None, process.stderr.read()
        finally:
            process.terminate()
            _, said = process.communicate(timeout=20)
    assert not said, said
