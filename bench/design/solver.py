"""`atrous.design` beside OR-Tools CP-SAT: `python bench/design/solver.py [--most SECONDS]`.

The same spaces, kernels 3, 5, 7 at 64 channels, a field of 129 or 513 at output stride 8 and
depths that are fixed, and the same front. It needs `pip install ortools`. The model of one
skeleton (which layers stand at which step of the input) counts the layers of every kernel and rate.
One of step `e` is there only where those of smaller steps read `e` positions, which is linear in
the counts, as are MACs and the variance of paths; the field's square is the one product. The front
is found by evenness: of the chains more even than the last one the cheapest, until there is none.
Each search has a process of its own that is ended after so many seconds of the processor, over all
threads; so are times.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace

from atrous.search import Space, search_space
from atrous.search.costs import Pricing
from atrous.search.ladder import evenness_percent
from atrous.search.skeletons import Skeleton, skeletons


def by_solver(space: Space, workers: int) -> list[tuple[int, int]]:
    """The front as price and percent, each proven the cheapest by CP-SAT."""
    every = list(skeletons(space))
    front: list[tuple[int, int]] = []
    percent = 0
    while True:
        best: tuple[int, int] | None = None
        for skeleton in every:
            found = _cheapest(space, skeleton, percent, None if best is None else best[0], workers)
            best = best if found is None else found
        if best is None:
            return front
        front = [one for one in front if one[0] < best[0]] + [best]
        percent = best[1] + 1


def _cheapest(
    space: Space, skeleton: Skeleton, percent: int, below: int | None, workers: int
) -> tuple[int, int] | None:
    """Price and percent of the cheapest chain that is so even; None where none costs less."""
    import numpy as np
    from ortools.sat.python import cp_model

    pricing = Pricing.of(space)
    model = cp_model.CpModel()
    depth = space.depth[1]
    by_step = defaultdict(list)
    by_group = defaultdict(list)
    ends, prices, spread = [], [], []
    for index, group in enumerate(skeleton.groups):
        for kernel in space.kernels:
            for rate in group.rates:
                step = rate * group.layer.step
                if step * (kernel - 1) >= space.most:
                    continue
                count = model.new_int_var(0, min(depth, group.count or depth), "")
                layer = replace(group.layer, kernel=kernel, rate=rate)
                by_step[step].append((count, step * (kernel - 1)))
                by_group[index].append(count)
                prices.append((count, pricing.price(space.minimise, layer)))
                spread.append((count, step**2 * (kernel**2 - 1)))
                if group.ends and rate == 1:
                    ends.append(count)
    counts = [count for count, _ in prices]
    model.add_linear_constraint(sum(counts), *space.depth)
    for index, group in enumerate(skeleton.groups):
        if group.count is not None:
            model.add(sum(by_group[index]) == group.count)
    if skeleton.needs_end:
        model.add(sum(ends) >= 1)
    field = model.new_constant(1)
    for step in sorted(by_step):
        here = model.new_bool_var("")
        model.add(sum(count for count, _ in by_step[step]) <= depth * here)
        model.add(field >= step).only_enforce_if(here)
        larger = model.new_int_var(1, space.most, "")
        model.add(larger == field + sum(count * reach for count, reach in by_step[step]))
        field = larger
    model.add(field >= space.least)
    square = model.new_int_var(1, space.most**2, "")
    model.add_multiplication_equality(square, [field, field])
    variance = sum(count * each for count, each in spread)
    model.add(10_000 * variance >= percent**2 * (square - 1))
    # In units of their common divisor, which the solver does not look for.
    unit = int(np.gcd.reduce([each for _, each in prices]))
    price = sum(count * (each // unit) for count, each in prices)
    if below is not None:
        model.add(price <= below // unit - 1)
    model.minimize(price)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = workers
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return None
    assert status == cp_model.OPTIMAL, solver.status_name(status)
    reached, wide = solver.value(field), int(solver.value(variance))
    even = evenness_percent(np.array([reached]), np.array([reached**2 - 1 - wide]))
    return int(solver.objective_value) * unit, int(even[0])


def _search(most: int, how: str, field: int, depth: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    space = Space(
        *(field, field + field // 4, field, (512, 512), 3, (64,), 8),
        kernels=(3, 5, 7),
        depth=(depth, depth),
    )
    begun = time.process_time()
    if how == "ours":
        front = [(one.price, round(100 * (one.evenness or 0))) for one in search_space(space)]
    else:
        front = by_solver(space, int(how))
    print(f"{time.process_time() - begun:.1f} | {sorted(front)}")


def main() -> None:
    """Prints a table, row by row; the fronts must be equal."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--most", type=int, default=600, help="seconds that a search may take")
    asked.add_argument("--depths", type=int, nargs="*", default=[4, 5, 6, 8, 10, 12])
    asked.add_argument("--one", nargs=3, help="one search: ours or workers, field, depth")
    given = asked.parse_args()
    if given.one:
        _search(given.most, given.one[0], *map(int, given.one[1:]))
        return
    print("| field | depth | designs | atrous.design | CP-SAT, 1 worker | CP-SAT, 8 workers |")
    print("| --- | --- | --- | --- | --- | --- |")
    for field in (129, 513):
        for depth in given.depths:
            row, fronts = [], set()
            for how in ("ours", "1", "8"):
                command = [sys.executable, __file__, "--one", how, str(field), str(depth)]
                command += ["--most", str(given.most)]
                done = subprocess.run(command, capture_output=True, text=True)
                took, _, front = done.stdout.strip().partition(" | ")
                fronts |= {front} if front else set()
                ended = f"more than {given.most}" if done.returncode < 0 else done.stderr[-80:]
                row.append(took or ended)
            alike = fronts.pop().count("(") if len(fronts) == 1 else f"differ: {fronts}"
            print(f"| {field} | {depth} | {alike} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
