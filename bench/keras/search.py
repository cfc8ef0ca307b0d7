"""Random Keras models against their reports: `python bench/keras/search.py FIRST COUNT [--finite]`.

Each model is run with NaN, or with finite changes in float64, at every input position, and what its
outputs show is compared with the footprints. Prints every disagreement, and the total.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
sys.path.insert(0, str(Path(__file__).parents[2]))

import keras

from tests.keras_probe import assert_reads, drawn_network


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--finite", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    started, agreed, wrong = time.time(), 0, 0
    for seed in range(given.first, given.first + given.count):
        model, shape = drawn_network(seed, finite=given.finite)
        try:
            agreed += assert_reads(model, shape, finite=given.finite)
        except AssertionError as error:
            wrong += 1
            print(f"{seed}: {error}")
        keras.backend.clear_session()
    print(
        f"{given.count} models, {agreed:,} pairs of an output and an input position agree, "
        f"{wrong} models disagree; {time.time() - started:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
