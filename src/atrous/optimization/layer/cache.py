"""Choices that were measured before, by machine and versions, in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from atrous.files import one_at_a_time, write_whole
from atrous.operators.kernels import native

__all__ = ["Choices", "folder", "machine", "versions"]

_SCHEMA = "atrous.choices/2"


def folder() -> Path:
    """Where choices are kept: ATROUS_CACHE, else `atrous` in XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("ATROUS_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "atrous"
    try:
        return Path.home() / ".cache" / "atrous"
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / "atrous-cache"


@cache
def machine() -> str:
    """The processor's name and PyTorch's instruction set for it."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n"):
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def versions() -> tuple[tuple[str, str], ...]:
    """The libraries whose versions decide what is fast, and the kernels' instruction set."""
    try:
        own = version("atrous")
    except PackageNotFoundError:
        own = "unknown"
    return (("atrous", own), ("torch", str(torch.__version__)), ("kernels", _isa()))


def _isa() -> str:
    found = native()
    return str(found.isa) if found.available else "none"


class Choices:
    """Milliseconds of each strategy by a call's signature, for one machine, as a JSON file.

    A file that cannot be read, or that says something else, is as good as none; one that cannot be
    written is not written. Nothing here decides whether a result is right: a choice is only the
    strategy to try first.
    """

    def __init__(self, path: Path | None = None) -> None:
        threads = torch.get_num_threads()
        key = repr((machine(), threads, versions()))
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.path = folder() / f"choices-{name}.json" if path is None else path
        self._about = {"machine": machine(), "threads": threads, **dict(versions())}
        self._held = self._read()
        self._fresh: dict[str, dict[str, float]] = {}

    def get(self, signature: str) -> dict[str, float] | None:
        """What the strategies took for that call; None where it was not measured."""
        return self._fresh.get(signature) or self._held.get(signature)

    def put(self, signature: str, taken: dict[str, float]) -> None:
        """Holds a measurement; `save` writes it."""
        self._fresh[signature] = taken

    def forget(self) -> None:
        """Everything is measured anew."""
        self._held = {}

    def save(self) -> None:
        """Writes what is new, beside what others wrote meanwhile, in one step."""
        if not self._fresh:
            return
        self._held = {**self._held, **self._fresh}
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(self.path):
                self._held = {**self._held, **self._read(), **self._fresh}
                data = {"schema": _SCHEMA, **self._about, "choices": self._held}
                write_whole(self.path, json.dumps(data))
        self._fresh = {}

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(data, dict) or data.get("schema") != _SCHEMA:
            return {}
        choices = data.get("choices")
        if not isinstance(choices, dict):
            return {}
        return {key: value for key, value in choices.items() if _is_taken(value)}


def _is_taken(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(ms, int | float) and not isinstance(ms, bool)
        for name, ms in value.items()
    )
