"""Times `atrous.design` against depth: `python bench/design/run.py [--most SECONDS] [--plot PATH]`.

Kernels 3, 5, 7, rates up to 64, a field of 513 at output strides 1 and 8, 64 channels. Depths are a
range from 1, and one number that every schedule has. Each search has a process of its own that is
ended after so many seconds. Times are of the processor, in seconds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

SEARCH = """
import sys, time
import atrous
low, high, stride = map(int, sys.argv[1:])
found = atrous.design(9, kernels=(3, 5), depth=(1, 3))  # what is imported is not timed
begun = time.process_time()
found = atrous.design(513, kernels=(3, 5, 7), depth=(low, high), output_stride=stride)
print(f"{time.process_time() - begun:.1f} | {len(found)} | {found.covered:.1e} | {found[0].rates}")
"""


def main() -> None:
    """Prints a table, row by row, and draws seconds against depth."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--most", type=float, default=120.0, help="seconds that a search may take")
    asked.add_argument("--plot", help="draw to this file, .svg or .png")
    given = asked.parse_args()
    print("| output stride | depth | seconds | designs | schedules | rates of the cheapest |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = []
    for stride in (8, 1):
        for fixed in (False, True):
            for depth in (6, 8, 10, 12, 14, 16):
                low = depth if fixed else 1
                command = [sys.executable, "-c", SEARCH, str(low), str(depth), str(stride)]
                try:
                    done = subprocess.run(
                        command, capture_output=True, text=True, timeout=given.most
                    )
                    said = done.stdout.strip() or done.stderr.strip().splitlines()[-1]
                except subprocess.TimeoutExpired:
                    said = f"more than {given.most:g} | | |"
                print(f"| {stride} | {low} to {depth} | {said} |", flush=True)
                if said.startswith("more"):
                    break
                layers = "exactly so many layers" if fixed else "1 to so many layers"
                name = f"output stride {stride}, {layers}"
                rows.append({"depth": depth, "seconds": float(said.split()[0]), "space": name})
    if given.plot:
        draw(rows, given.plot)


def draw(rows: list[dict[str, object]], path: str) -> None:
    """Seconds against depth, a line for each space."""
    import altair as alt

    legend = alt.Legend(orient="top", columns=2, labelLimit=300)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("depth:Q", title="layers", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6)),
        y=alt.Y("seconds:Q", title="seconds of one core", scale=alt.Scale(type="log")),
        color=alt.Color("space:N", title=None, legend=legend),
        shape=alt.Shape("space:N", legend=None),
    )
    lines = base.mark_line(point=alt.OverlayMarkDef(filled=True, size=60))
    lines.properties(width=560, height=260).save(path)


if __name__ == "__main__":
    main()
