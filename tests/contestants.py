"""Stand-ins for contestants of a bench, found by their names in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from bench.shared.alone import Built

HERE = Path(__file__).parent


def steady(notes, request):
    """Does every request in half a millisecond; says in which process."""
    return Built(partial(time.sleep, 0.0005), {"pid": os.getpid(), "request": request, **notes})


def idle(_request):
    return None


def missing(_request):
    raise ModuleNotFoundError("No module named 'an_engine'")


def crashing(_request):
    sys.stderr.write("the engine gave up\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGSEGV)


def hanging(_request):
    time.sleep(600)


def crashing_later(request):
    """Lives through being built and its first call."""
    calls = []

    def call():
        calls.append(0)
        if len(calls) > 1 and request == "crash":
            os._exit(3)

    return Built(call, {"pid": os.getpid()})


def uneven_reference(slow, _request):
    """Takes a millisecond, and forty in the calls of those numbers."""
    calls = iter(range(1_000_000))
    return Built(lambda: time.sleep(0.04 if next(calls) in slow else 0.001))


def counting(path, _request):
    """Writes how often it was called."""

    def call():
        with path.open("a") as file:
            file.write(".")

    return Built(call)


def parenting(_request):
    """Starts a process of its own."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return Built(partial(time.sleep, 0.0005), {"child": child.pid})


def crowded(_request):
    """Works for twenty milliseconds on a core that another process works on all the time."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, [core])
    subprocess.Popen([sys.executable, "-c", "while True: pass"])

    def call():
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:
            pass

    return Built(call)
