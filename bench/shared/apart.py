"""Jobs in processes of their own, some at a time, each under a time limit.

One thread starts them all, so that forking is safe. What a job prints or breaks stays with it.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["Job", "one_apart", "run_apart"]

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """`work(*arguments)`, under a name."""

    name: str
    work: Callable[..., Result]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class _Running:
    job: Job
    process: Any
    until: float


def run_apart(
    jobs: Iterable[Job], *, limit: float, processes: int = 1, minutes: float = float("inf")
) -> Iterator[tuple[str, Result]]:
    """The result of each job as it comes, or a `status` and `reason` where there is none.

    A job has `limit` seconds. After so many `minutes` none is started any more. Where the caller
    stops asking, the jobs that run are ended.
    """
    waiting = iter(jobs)
    running: dict[Connection, _Running] = {}
    end = time.monotonic() + 60 * minutes
    try:
        while True:
            while len(running) < processes and time.monotonic() < end:
                job = next(waiting, None)
                if job is None:
                    break
                pipe, process = _started(job)
                running[pipe] = _Running(job, process, time.monotonic() + limit)
            if not running:
                return
            nearest = min(one.until for one in running.values()) - time.monotonic()
            ready = wait(list(running), timeout=max(nearest, 0))
            for pipe, one in list(running.items()):
                if pipe in ready:
                    result = _received(pipe, one)
                elif time.monotonic() >= one.until:
                    result = {"status": "unfinished", "reason": f"not done after {limit:.0f} s"}
                else:
                    continue
                del running[pipe]
                _end(pipe, one)
                yield one.job.name, result
    finally:
        for pipe, one in running.items():
            _end(pipe, one)


def one_apart(work: Callable[..., Result], *arguments: Any, limit: float) -> Result:
    """The result of one job."""
    ((_, result),) = run_apart([Job("", work, arguments)], limit=limit)
    return result


def _started(job: Job) -> tuple[Connection, Any]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, job))
    process.start()
    theirs.close()
    return ours, process


def _send(pipe: Connection, job: Job) -> None:
    warnings.simplefilter("ignore")
    try:
        pipe.send(job.work(*job.arguments))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        pipe.send({"status": "failed", "reason": f"{type(error).__name__}: {reason}"})


def _received(pipe: Connection, one: _Running) -> Result:
    try:
        result: Result = pipe.recv()
    except EOFError:
        one.process.join()
        return {"status": "crashed", "reason": f"exit code {one.process.exitcode}"}
    return result


def _end(pipe: Connection, one: _Running) -> None:
    one.process.kill()
    one.process.join()
    pipe.close()
