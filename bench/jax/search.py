"""Random JAX functions against their reports: `python bench/jax/search.py FIRST COUNT [--finite]`.

Each function is run with NaN, or with finite changes in float64, at every input position, and what
its outputs show is compared with the footprints. Prints every disagreement, and the total.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import jax

sys.path.insert(0, str(Path(__file__).parents[2]))

import atrous
from tests.jax_probe import UnprobedError, assert_reads, drawn_network


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--finite", action="store_true")
    given = parser.parse_args()
    started, agreed, wrong, partial, blind = time.time(), 0, 0, 0, 0
    for seed in range(given.first, given.first + given.count):
        with jax.enable_x64(True) if given.finite else nullcontext():
            function, shape = drawn_network(seed, finite=given.finite)
            report = atrous.inspect(function, shape)
            if not report.complete:
                partial += 1
                print(f"{seed}: not followed: {report.opaque}")
                continue
            try:
                agreed += assert_reads(function, shape, finite=given.finite, report=report)
            except AssertionError as error:
                wrong += 1
                print(f"{seed}: {error}")
            except UnprobedError as error:
                blind += 1
                print(f"{seed}: not probed: {error}")
        jax.clear_caches()
    print(
        f"{given.count} functions, {agreed:,} pairs of an output and an input position agree, "
        f"{wrong} functions disagree, {partial} are not followed whole, "
        f"{blind} are not probed; "
        f"{time.time() - started:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
