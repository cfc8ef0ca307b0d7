"""What a bench of named things that go on after a cut is asked for on its command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.shared.commit import commit
from bench.shared.machine import use_threads

__all__ = ["Asked", "asked_for", "write_whole"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which things, which contestants, how often, and the file; None where nothing is kept."""

    words: tuple[str, ...]
    peers: list[str]
    again: bool
    older: bool
    turns: int
    threads: int
    path: Path | None

    def names(self, thing: str) -> bool:
        """Whether it is asked for by a word that its name holds."""
        return any(word in thing.lower() for word in self.words)

    def wants(self, found: dict[str, Any] | None) -> bool:
        """Whether it is to be measured, given what the file has of it."""
        if found is None or self.again:
            return True
        return bool(self.older and found["commit"] != commit())


def asked_for(about: str, things: str, peers: Sequence[str], file: Path) -> Asked:
    """Reads the command line; ends the program where no contestant is named like that."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"words that the names of {things} hold")
    parser.add_argument("--again", action="store_true", help=f"also {things} that have a result")
    parser.add_argument("--older", action="store_true", help="also those of another commit")
    parser.add_argument("--quick", action="store_true", help="one turn each, nothing is kept")
    parser.add_argument("--turns", type=int, help="turns of each contestant; 7, or 1 when quick")
    parser.add_argument(
        "--peers", default="", help=f"names, or parts of them, of: {'; '.join(peers)}"
    )
    parser.add_argument("--threads", type=int, help="as many as PyTorch takes, if left out")
    parser.add_argument("--out", type=Path, help=f"{file.name} beside this file, unless quick")
    given = parser.parse_args()
    parts = given.peers.lower().split(",")
    whole = {name.lower() for name in peers} & {*parts}
    chosen = [
        name
        for name in peers
        if name.lower() in whole or any(p in name.lower() for p in parts if p not in whole)
    ]
    if not chosen:
        parser.error(f"no peer is named like {given.peers}; there are {'; '.join(peers)}")
    return Asked(
        tuple(word.lower() for word in given.names) or ("",),
        chosen,
        given.again,
        given.older,
        given.turns or (1 if given.quick else 7),
        use_threads(given.threads),
        given.out or (None if given.quick or given.peers else file),
    )


def write_whole(path: Path, results: dict[str, Any]) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(path)
