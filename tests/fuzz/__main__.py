"""Runs one target: `python -m tests.fuzz stacks --minutes 30 --corpus /tmp/stacks`.

What is found is written into `--found`, one file for each place where it was raised, and the search
goes on. `--least FOLDER` instead copies into FOLDER the inputs of the corpus that are needed to
reach what all of them reach. Prints the figures of libFuzzer, and what was found.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

import atheris

from tests.fuzz import MOST_BYTES, MOST_INPUT, MOST_SECONDS

TARGETS = ("onnx_files", "requests", "saved_files", "stacks")
_ROOMS = ("analysis", "draw", "explore", "geometry", "network", "report", "readers.onnx")


def main() -> None:
    """Reads the options, and hands over to libFuzzer, which ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--found", type=Path)
    parser.add_argument("--least", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    own = Path(__file__).parent / "corpus" / asked.target
    corpus = asked.corpus or Path(tempfile.mkdtemp(prefix=f"{asked.target}-"))
    found = asked.found or corpus.with_name(f"{corpus.name}-found")
    for folder in (own, corpus, found, *filter(None, [asked.least])):
        folder.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=["atrous"]):
        import atrous

        # Now, as only what is imported here is watched.
        for room in _ROOMS:
            package = importlib.import_module(f"{atrous.__name__}.{room}")  # noqa: TID251 - it is watched
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)  # noqa: TID251
        target = importlib.import_module(f"tests.fuzz.{asked.target}")  # noqa: TID251
    known: dict[str, int] = {}

    def fed(data: bytes) -> None:
        began = time.process_time()
        key = said = ""
        try:
            target.feed(data)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if "/atrous/" in f.filename]
            at = (ours or frames)[-1]
            place = f"{Path(at.filename).name}:{at.lineno}"
            key = f"{type(error).__name__}-{place.replace(':', '-')}"
            said = f"{type(error).__name__} at {place}: {str(error)[:200]!r}"
        taken = time.process_time() - began
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        if not said and taken > MOST_SECONDS:
            key, said = f"slow-{min(int(taken), 60)}", f"took {taken:.1f} s"
        if not said and held > MOST_BYTES and "memory" not in known:
            key, said = "memory", f"held {held:,} bytes"
        if said:
            known[key] = known.get(key, 0) + 1
            if known[key] == 1:
                (found / key).write_bytes(data)
                sys.stdout.write(f"FOUND {said}\n")
                sys.stdout.flush()

    def other(data: bytes, most: int, seed: int) -> bytes:
        rng = Random(seed)
        made = target.changed(data, rng)
        return made if len(made) <= most else data[:most]

    options = [
        sys.argv[0],
        f"-max_len={MOST_INPUT}",
        "-timeout=120",
        "-rss_limit_mb=1536",
        f"-artifact_prefix={found}/",
        f"-seed={asked.seed}",
        "-print_final_stats=1",
    ]
    if asked.least:
        options += ["-merge=1", str(asked.least), str(corpus), str(own)]
    else:
        options += [f"-max_total_time={int(asked.minutes * 60)}", str(corpus), str(own)]
    atheris.Setup(options, fed, custom_mutator=other)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
