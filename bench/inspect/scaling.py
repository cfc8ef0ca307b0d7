"""How long a report takes: by network size, for an exact footprint, and as a whole process.

    python bench/inspect/scaling.py [--json FILE]

Medians over alternating repetitions in one run. Budgets, on two shared cores: the report of a
1,000-node network already read under 50 ms, ten times that at 10,000 nodes; the exact 2-D footprint
of ResNet-152's last layer with counts under 1 s; `import atrous` under 50 ms more than a bare
interpreter; `atrous inspect zoo:resnet50` under 0.5 s.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy

from atrous.analysis import inspect_network
from atrous.network import Builder, Network, zoo


def residual_network(nodes: int) -> Network:
    """A residual network of about `nodes` nodes: conv, norm, conv, norm, add, activation."""
    b = Builder(f"residual {nodes}")
    x = b.input("x", (1, 3, 256, 256))
    x = b.conv(x, 16, 3, stride=2, padding=1, name="stem")
    block = 0
    while b.mark() < nodes:
        with b.scope(f"block{block}"):
            stride = 2 if block in (3, 6) else 1
            y = b.conv(x, 16, 3, stride=stride, padding=1, name="conv1")
            y = b.relu(b.batch_norm(y, "norm1"), "relu1")
            y = b.conv(y, 16, 3, padding=2, dilation=2, name="conv2")
            y = b.batch_norm(y, "norm2")
            skip = x if stride == 1 else b.conv(x, 16, 1, stride=2, name="skip")
            x = b.relu(b.join(y, skip), "relu2")
        block += 1
    return b.build(x)


def median_ms(work: Callable[[], object], repeats: int = 9) -> float:
    """The median wall time of `work`, in milliseconds, after one run that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def process_ms(command: list[str], repeats: int = 9) -> float:
    """The median wall time of a whole process, in milliseconds."""
    return median_ms(
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), repeats
    )


def measure() -> dict[str, float]:
    """All figures, in milliseconds."""
    found: dict[str, float] = {}
    networks = {n: residual_network(n) for n in (1_000, 3_000, 10_000)}
    for n, network in networks.items():
        found[f"report of {n:,} nodes"] = median_ms(
            lambda network=network: inspect_network(network).to_dict, 7
        )
        report = inspect_network(network)
        found[f"report of {n:,} nodes as JSON"] = median_ms(report.to_json, 3)
    deep = inspect_network(zoo.build("resnet152", (1, 3, 1600, 1600)))
    last = "layer4.2.conv3"
    assert deep[last].field[0].size < 1600
    found["footprint of resnet152, 1600 px"] = median_ms(lambda: deep.footprint(last).counts, 5)
    bare = process_ms([sys.executable, "-c", "pass"])
    found["bare interpreter"] = bare
    found["import atrous"] = process_ms([sys.executable, "-c", "import atrous"]) - bare
    command = shutil.which("atrous", path=str(Path(sys.executable).parent))
    start = [command] if command else [sys.executable, "-m", "atrous"]
    found["atrous inspect zoo:resnet50"] = process_ms([*start, "inspect", "zoo:resnet50"])
    return found


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    found = measure()
    print(f"Python {platform.python_version()}, NumPy {numpy.__version__}, {platform.machine()}")
    for name, value in found.items():
        print(f"{name:36} {value:9.1f} ms")
    per_node = found["report of 10,000 nodes"] / found["report of 1,000 nodes"]
    print(f"10,000 nodes against 1,000: {per_node:.1f} times")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
