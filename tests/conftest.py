"""What every test shares: threads per worker, how hypothesis draws, torchvision's op schemas."""

from __future__ import annotations

import gc
import os
from functools import _lru_cache_wrapper

from hypothesis import settings

from tests.torchvision_schemas import let_torchvision_import

# The workers already fill the cores: torch's threads on top of them would only wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Keras takes its backend when it is first imported, and torch is the one that is here.
os.environ.setdefault("KERAS_BACKEND", "torch")

# JAX is its own oracle, on the CPU whatever else is there.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Whole models by other engines take seconds to prepare, and which is fastest varies: only the tests
# of engines ask for them.
os.environ.setdefault("ATROUS_ENGINES", "atrous")

# Exports make objects by the hundred thousand, nearly all of which stay: a collection every 700 of
# them finds nothing, at 6 % of the time. What imports and collecting tests make stays until the end
# and is never looked at.
gc.set_threshold(20_000)
gc.disable()

# Every run draws the same examples, however slow the machine is; `--hypothesis-profile=wide` draws
# new ones, and more of them.
settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("wide", derandomize=False, deadline=None, max_examples=2000)
settings.load_profile("fixed")

let_torchvision_import()


def pytest_collection_finish() -> None:
    """From here on, garbage is collected; not what there is."""
    gc.freeze()
    gc.enable()


def pytest_sessionstart() -> None:
    """A mutant is tested in a fork of a process that ran the tests: what that kept is forgotten."""
    if os.environ.get("MUTANT_UNDER_TEST"):
        gc.unfreeze()
        for kept in gc.get_objects():
            if type(kept) is _lru_cache_wrapper and kept.__module__.startswith("atrous."):
                kept.cache_clear()
