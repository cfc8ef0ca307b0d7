"""Each contestant in a process of its own, which is stopped outside its turns.

In one process the thread pools of several libraries fight for the cores. Here a contestant's
process runs (SIGCONT) while it builds a case or takes its turn, and stands still (SIGSTOP) for all
others. A turn counts as disturbed, and is thrown away and repeated, where something else had the
cores: where the contestant's threads were ready and waited for one, as Linux tells of each thread,
or where a small product timed beside the turn, in a process of its own as well, is slower than its
own best by more than a bound (a processor at a lower clock, or shared with another machine).

The processes end with the `Contest`, with the parent (Linux), and on Ctrl-C.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from bench.shared.rounds import (
    FAR_SECONDS,
    Contestant,
    Times,
    rotated,
    summary,
    turn,
    turns_left,
)

__all__ = [
    "Built",
    "Contest",
    "FailedError",
    "Found",
    "GoneError",
    "Host",
    "Limits",
    "alone",
    "product",
]

ROOT = Path(__file__).resolve().parents[2]
DEATHS = 3  # a contestant whose process ended so often is not started again
PRODUCT = 384  # rows and columns: about half a millisecond


@dataclass(frozen=True, slots=True)
class Built:
    """A case, prepared: `call` does it once, `notes` are plain data about it."""

    call: Callable[[], object]
    notes: dict[str, Any] = field(default_factory=dict)


Build = Callable[[Any], Built | None]
"""From a request to the case prepared, or None where it does not do that.

Found in the child by its module and name, as pickle finds functions: not one of `__main__`.
"""


class FailedError(Exception):
    """What was asked for raised in the child, which lives on."""


class GoneError(Exception):
    """The child ended or did not answer, and is no more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that building a case and one turn may take, and what counts as disturbed.

    `slower` is what the reference may lose beside its best, `waited` what a turn may have waited
    for a core, both as shares.
    """

    build: float = 300.0
    turn: float = 60.0
    slower: float = 0.15
    waited: float = 0.05
    repeats: int = 3


@dataclass(frozen=True, slots=True)
class Turn:
    """The seconds of one turn's calls, and the share of it that threads waited for a core."""

    calls: list[float]
    waited: float


@dataclass(slots=True)
class Found:
    """What came of one case: by contestant, in the order of the seats."""

    times: dict[str, Times] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    disturbed: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    """Turns that count although they were disturbed each time, the least disturbed of each."""

    @property
    def share(self) -> float:
        """The share of turns, repeated ones included, that were disturbed."""
        return sum(self.disturbed.values()) / max(sum(self.attempts.values()), 1)


def product(_request: object) -> Built:
    """The reference: a float32 matrix product by NumPy, on as many threads as everybody has."""
    import numpy as np

    a = np.random.default_rng(0).standard_normal((PRODUCT, PRODUCT), dtype=np.float32)
    out = np.empty_like(a)
    return Built(lambda: np.matmul(a, a, out=out))


class Host:
    """The parent's side of one process, stopped whenever nothing is asked of it."""

    def __init__(self, build: Build, threads: int) -> None:
        ours, theirs = socket.socketpair()
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        self.folder = tempfile.TemporaryDirectory()
        command = f"from bench.shared.alone import serve; serve({theirs.fileno()}, {os.getpid()})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", command],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self.said,
            stderr=self.said,
            start_new_session=True,
            env=environment(threads, self.folder.name),
        )
        theirs.close()
        self.pipe = Connection(ours.detach())
        self._send(build)

    def build(self, request: object, limit: float) -> dict[str, Any] | None:
        """The notes of the case that it holds from now on, the one before dropped."""
        notes: dict[str, Any] | None = self.ask(("build", request), limit)
        return notes

    def turn(self, usual: float, seconds: float, limit: float) -> Turn:
        """One turn's calls."""
        done: Turn = self.ask(("turn", usual, seconds), limit)
        return done

    def ask(self, message: tuple[Any, ...], limit: float) -> Any:
        """Continues the process, waits for its answer, and stops it again."""
        self._signal(signal.SIGCONT)
        self._send(message)
        try:
            if not self.pipe.poll(limit):
                self.end()
                raise GoneError(f"no answer to {message[0]!r} after {limit:g} s")
            worked, answer = self.pipe.recv()
        except (EOFError, OSError):
            raise GoneError(self.end()) from None
        self._signal(signal.SIGSTOP)
        self._wait_until_stopped()
        if not worked:
            raise FailedError(answer)
        return answer

    def end(self) -> str:
        """Ends the process and whatever it started, stopped or not; says how it had ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.2)
        code = self.process.poll()
        self._signal(signal.SIGKILL)
        self.process.wait()
        if self.said.closed:
            return "ended before"
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        self.pipe.close()
        self.said.close()
        self.folder.cleanup()
        ended = "was ended" if code is None else f"ended with {exit_name(code)}"
        return f"{ended}: {lines[-1][:200]}" if lines else ended

    def close(self) -> None:
        """Ends the process without waiting for what it does."""
        if self.said.closed:
            return
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.pipe.close()
        self.said.close()
        self.folder.cleanup()

    def _send(self, message: object) -> None:
        try:
            self.pipe.send(message)
        except OSError:
            raise GoneError(self.end()) from None

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _wait_until_stopped(self) -> None:
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def alone(build: Build, request: object, threads: int, limit: float) -> dict[str, Any]:
    """The notes of a case, built in a process that ends with it.

    Raises `FailedError` where it raised there, `GoneError` where the process ended.
    """
    host = Host(build, threads)
    try:
        return host.build(request, limit) or {}
    finally:
        host.close()


def exit_name(code: int) -> str:
    """An exit code, or the name of the signal."""
    return f"code {code}" if code >= 0 else signal.Signals(-code).name


def environment(threads: int, folder: str) -> dict[str, str]:
    """The parent's, with its path of modules and the same threads for every library.

    A compiler's cache is the process's own: one that is stopped may hold a lock in a shared one.
    """
    counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    path = [str(ROOT), *(entry for entry in sys.path if entry)]
    return {
        **os.environ,
        **dict.fromkeys(counts, str(threads)),
        "PYTHONPATH": os.pathsep.join(path),
        "TORCHINDUCTOR_CACHE_DIR": folder,
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # more are processes, which outlive a compilation
    }


def serve(handle: int, parent: int) -> None:
    """The child: builds what it is asked for, takes turns, ends when the parent does."""
    end_with(parent)
    pipe = Connection(handle)
    warnings.simplefilter("ignore")
    build: Build | None = None
    told = ""
    try:
        build = pipe.recv()
    except (ImportError, AttributeError) as failure:  # said to whoever asks
        told = f"{type(failure).__name__}: {failure}"
    built: Built | None = None
    while True:
        try:
            kind, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            if build is None:
                raise ImportError(told)
            if kind == "build":
                built = None
                gc.collect()
                built = build(*arguments)
                answer: Any = None if built is None else built.notes
            else:
                answer = quiet_turn(built, *arguments)
        except Exception as failure:  # one case that cannot must not end the others
            pipe.send((False, f"{type(failure).__name__}: {str(failure).strip()[:300]}"))
        else:
            pipe.send((True, answer))


def quiet_turn(built: Built | None, usual: float, seconds: float) -> Turn:
    """A turn that no collection of garbage falls into."""
    if built is None:
        raise ValueError("nothing is built")
    gc.disable()
    before = waits()
    begin, work = time.perf_counter(), time.process_time()
    try:
        calls = turn(Contestant("", built.call), usual, seconds)
    finally:
        gc.enable()
    took, work = time.perf_counter() - begin, time.process_time() - work
    waited = sum(now - before.get(thread, 0.0) for thread, now in waits().items())
    return Turn(calls, share_waited(waited, work, took, cores()))


def share_waited(waited: float, work: float, took: float, cores: int) -> float:
    """The share of `took` seconds that threads were ready and others had the cores.

    Threads that wait for one another, since they are more than the cores, leave no core idle: what
    the process itself worked is not lost.

    >>> share_waited(waited=1.0, work=1.0, took=1.0, cores=2), share_waited(1.0, 2.0, 1.0, 2)
    (1.0, 0.0)
    """
    return max(0.0, min(waited, cores * took - work)) / took


def waits() -> dict[str, float]:
    """For each thread the seconds that it was ready and waited for a core; nothing but on Linux."""
    found = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # a thread that has just ended
            found[path.parent.name] = int(path.read_text().split()[1]) / 1e9
    return found


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def end_with(parent: int) -> None:
    """Has the system kill this process, stopped or not, where the parent dies first (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


class Contest:
    """Contestants by name, each started when it is first needed, and the reference beside them.

    Used in a `with`, which ends all processes.
    """

    def __init__(
        self,
        seats: Mapping[str, Build],
        threads: int,
        *,
        reference: Build = product,
        limits: Limits | None = None,
    ) -> None:
        self.seats, self.threads, self.limits = dict(seats), threads, limits or Limits()
        self.hosts: dict[str, Host] = {}
        self.deaths: dict[str, list[str]] = {}
        self.least = float("inf")
        self.reference = Host(reference, threads)

    def __enter__(self) -> Self:
        try:
            self.reference.build(None, self.limits.build)
            for _ in range(10):
                self.beside()
        except (GoneError, FailedError) as failure:
            self.close()
            raise RuntimeError(f"the reference does not run: {failure}") from failure
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process."""
        for host in [*self.hosts.values(), self.reference]:
            host.close()
        self.hosts = {}

    def run(self, request: object, *, turns: int, seconds: float = 0.015) -> Found:
        """The times of everybody who does what is asked for, each round from another one on."""
        found = Found()
        usual: dict[str, float] = {}
        for label in self.seats:
            with self._entered(label, found):
                host = self._host(label)
                notes = host.build(request, self.limits.build)
                if notes is not None:
                    usual[label] = host.turn(FAR_SECONDS, 0.0, self.limits.turn).calls[0]
                    found.notes[label] = notes
        left = turns_left(usual, turns, seconds)
        times: dict[str, list[list[float]]] = {label: [] for label in usual}
        before = self.beside()
        for index in range(turns):
            for label in rotated([*usual], index):
                if index < left[label] and label not in found.absent:
                    with self._entered(label, found):
                        ask = partial(
                            self.hosts[label].turn, usual[label], seconds, self.limits.turn
                        )
                        calls, before = self._repeated(ask, before, label, found)
                        times[label].append(calls)
        for label in usual:
            if label not in found.absent:
                found.times[label] = summary(times[label] or [[usual[label]]])
        return found

    def beside(self) -> float:
        """Seconds of the reference, now."""
        try:
            took = statistics.median(self.reference.turn(0.0, 0.0, self.limits.turn).calls)
        except (FailedError, GoneError) as failure:
            raise RuntimeError(f"the reference does not run: {failure}") from failure
        self.least = min(self.least, took)
        return took

    def _repeated(
        self, ask: Callable[[], Turn], before: float, label: str, found: Found
    ) -> tuple[list[float], float]:
        """An undisturbed turn, or after so many repeats the least disturbed one."""
        best: tuple[float, list[float]] | None = None
        for _ in range(1 + self.limits.repeats):
            done = ask()
            after = self.beside()
            slower = max(before, after) / self.least
            before = after
            found.attempts[label] = found.attempts.get(label, 0) + 1
            if best is None or slower + done.waited < best[0]:
                best = slower + done.waited, done.calls
            if slower <= 1 + self.limits.slower and done.waited <= self.limits.waited:
                return done.calls, before
            found.disturbed[label] = found.disturbed.get(label, 0) + 1
        found.kept[label] = found.kept.get(label, 0) + 1
        assert best is not None
        return best[1], before

    def _host(self, label: str) -> Host:
        if label not in self.hosts:
            ended = self.deaths.get(label, [])
            if len(ended) >= DEATHS:
                raise FailedError(f"not started again after {DEATHS} ends, the last: {ended[-1]}")
            self.hosts[label] = Host(self.seats[label], self.threads)
        return self.hosts[label]

    @contextlib.contextmanager
    def _entered(self, label: str, found: Found) -> Iterator[None]:
        """Notes why a contestant takes no part; its process is started anew for the next case."""
        try:
            yield
        except (FailedError, GoneError) as failure:
            found.absent[label] = str(failure)
            found.notes.pop(label, None)
            if isinstance(failure, GoneError):
                self.deaths.setdefault(label, []).append(str(failure))
                if label in self.hosts:
                    self.hosts.pop(label).close()
