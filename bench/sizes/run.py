"""Runs every model at every size from 1 to 300, and holds what `sizes` says against it.

    python bench/sizes/run.py [--only TEXT] [--out FILE]

Along each axis alone, the others as they are in the example, and along all of them at once. The
models run on PyTorch's meta device, which makes shapes and no numbers; at sizes on both sides of
each change between running and not they also run with numbers, and must do the same there. Files
run in ONNX Runtime. `tests/sizes_probe` measures what is dropped and which joins line up.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import sys
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from models import MODELS, Onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import atrous
from bench.shared.commit import commit
from tests.sizes_probe import loses, shifts

HERE = Path(__file__).parent
LAST = 300
REAL = 24
"""Sizes at which a model also runs with numbers, at most."""
MOST = 1 << 21
"""Numbers in an input that is run for real, at most."""
THIN = 8
"""Channels of an input up to which a model is probed."""
ALIGNED = 24
"""Sizes at which joins are probed."""
SHAPES = 60
"""Shapes with another length along each axis, and sizes beyond the range, that are drawn."""
JOINS = (
    "must match the size of tensor b",
    "Sizes of tensors must match",
    "Non concat axis dimensions must match",
    "Attempting to broadcast an axis by a dimension other than 1",
)
NAMED = re.compile(
    r": (\S+|the module itself)(?: joins maps of (\d+) and (\d+) positions|: \(.*\) cannot be )"
)


class Running:
    """A model that says where it is when it fails: the module entered last and not left."""

    def __init__(self, model):
        self.model, self.inside = model, []
        for name, part in model.named_modules():
            part.register_forward_pre_hook(lambda *_, name=name: self.inside.append(name))
            part.register_forward_hook(self._left)

    def _left(self, *_):
        self.inside.pop()

    def at(self, shape, device):
        """The shapes of the outputs, or where it fails and what it says."""
        self.inside.clear()
        try:
            with torch.no_grad():
                made = self.model(torch.zeros(shape, device=device))
        except Exception as error:
            return {"in": self.inside[-1], "says": " ".join(str(error).split())}
        held = made.values() if isinstance(made, dict) else made
        held = [held] if isinstance(held, torch.Tensor) else list(held)
        return {"shapes": [tuple(t.shape) for t in held if isinstance(t, torch.Tensor)]}


def resized(shape, places, n):
    """The shape with other lengths at these places."""
    return tuple(n if i in places else size for i, size in enumerate(shape))


def runs(found):
    """Whether a model ran and made something, by pools as the standard has them."""
    made = "shapes" in found and all(all(shape) for shape in found["shapes"])
    return made and not found.get("broken")


def as_large(found, at):
    """Whether every output is as large as the input."""
    return all(made[2:] == tuple(at) for made in found["shapes"])


def compared(said, shape, places, truth, counts):
    """What `sizes` says that the runs do not, size by size."""
    wrong = []
    for n, found in truth.items():
        at = resized(shape, places, n)[2:]
        if found.get("broken"):
            counts["broken"] += 1
        legal = said.legal(at)
        if legal != runs(found):
            wrong.append((n, f"legal {legal}, the run {found}"))
            continue
        if not legal:
            says = "" if found.get("broken") else found.get("says", "")
            if any(text in says for text in JOINS):
                counts["joins"] += 1
                named = NAMED.search(said.why(at))
                path = found["in"] or "the module itself"
                if named is None or named[1] != path:
                    wrong.append((n, f"{path} named {said.why(at)}"))
            continue
        along = [one.at(m) for one, m in zip(said.along, at, strict=True)]
        if found["shapes"] and all(len(made) == len(shape) for made in found["shapes"]):
            counts["same"] += 1
            for i in places:
                made = tuple(one[i] for one in found["shapes"])
                ours = along[i - 2].outputs
                # The record of several axes has the longest of them.
                if len(set(at)) == 1 and ours != made and set(made) != {1}:
                    wrong.append((n, f"outputs {ours}, the run {made}"))
            if as_large(found, at) != said.same(at):
                wrong.append((n, f"same {said.same(at)}, the run {as_large(found, at)}"))
    return wrong


def nearest(said, shape, places, truth):
    """Where the nearest size that runs is another than the runs say."""
    good = [n for n, found in truth.items() if runs(found)]
    wrong = []
    for n in truth:
        near = min(good, key=lambda m: (abs(m - n), -m), default=None)
        if near is None or abs(near - n) > LAST - n:
            continue  # a nearer one may be past the range
        ours = said.nearest(resized(shape, places, n)[2:])[places[0] - 2]
        if ours != near:
            wrong.append((n, f"nearest {ours}, of the runs {near}"))
    return wrong


def periods(one, truth, losing, counts):
    """Where a size and one a period on do not give the same, and where the least size is another.

    Outputs grow by the rise that is said; what is lost is lost again.
    """
    wrong = []
    if one.period:
        for n in range(max(one.settled, 1), LAST - one.period + 1):
            here, later = truth[n], truth[n + one.period]
            counts["periods"] += 1
            if runs(here) != runs(later):
                wrong.append((n, f"{one.period} further on: runs {runs(later)}"))
            elif runs(here) and losing.get(n) != losing.get(n + one.period):
                wrong.append((n, f"{one.period} further on: drops {losing[n + one.period]}"))
    ran = [n for n, found in truth.items() if runs(found)]
    if ran and one.least != ran[0]:
        wrong.append((ran[0], f"least {one.least}"))
    return wrong


def fitting(said, shape, place, truth, losing, counts):
    """Where `pad` or `crop`, applied, is not good, or another is nearer that is.

    Good is what runs, and where sizes can be that, comes out as large as it went in, and loses
    nothing by the probe; of joins `sizes` is believed here.
    """
    wrong, one = [], said.along[place - 2]
    for keep in ("lossless", "same"):
        if keep in said.attainable:
            counts[f"fits {keep}"] += 1

    def good(m):
        at = resized(shape, [place], m)[2:]
        if not runs(truth[m]):
            return False
        if "same" in said.attainable and not as_large(truth[m], at):
            return False
        if "lossless" in said.attainable and losing[m]:
            return False
        return "aligned" not in said.attainable or one.at(m).aligned

    held = [m for m in truth if good(m)]
    for n in truth:
        at = replace(said, shape=resized(shape, [place], n)[2:])
        for name, near in (
            ("pad", min((m for m in held if m >= n), default=None)),
            ("crop", max((m for m in held if m <= n), default=None)),
        ):
            if near is None:
                continue
            counts["fits"] += 1
            ours = getattr(at, name)[place - 2]
            if ours != abs(near - n):
                wrong.append((n, f"{name} {ours}, by search to {near}"))
    return wrong


def aligning(said, model, shape, place, counts):
    """Where a join lines up for `sizes` and not by the probe, or the other way round."""
    wrong, one = [], said.along[place - 2]
    farthest = 2 * LAST if len(shape) == 3 else LAST
    legal = [n for n in range(20, farthest) if said.legal(resized(shape, [place], n)[2:])]
    for n in legal[:: max(len(legal) // ALIGNED, 1)]:
        try:
            apart = shifts(model, resized(shape, [place], n), place)
        except Exception:
            continue  # it takes one item at a time
        known = [cells for cells in apart if cells is not None]
        far, near = any(c > 0.7 for c in known), all(c < 0.3 for c in known)
        if not far and (None in apart or not near):
            counts["undecided"] += 1
            continue
        counts["aligned"] += 1
        if far == one.at(n).aligned:
            wrong.append((n, f"aligned {one.at(n).aligned}, by the probe {apart}"))
    return wrong


def drawn(said, running, shape, counts):
    """What shapes off the lines give, and sizes beyond the range."""
    wrong, dice = [], random.Random(0)
    axes = len(shape) - 2
    for i in range(2 * SHAPES if axes > 1 else SHAPES):
        if i < SHAPES:
            lengths = (dice.randint(LAST + 1, 4 * LAST),) * axes
        else:
            lengths = tuple(dice.randint(1, LAST) for _ in range(axes))
            lengths = said.nearest(lengths) if i % 2 and not said.tied else lengths
        if math.prod(lengths) > MOST:
            continue
        counts["shapes"] += 1
        legal, found = said.legal(lengths), running.at((*shape[:2], *lengths), "meta")
        if legal != runs(found):
            wrong.append((lengths, f"legal {legal}, the run {found}"))
    return wrong


def measured(name):
    """All of one model."""
    build, shape = MODELS[name]
    model = build()
    file = isinstance(model, Onnx)
    start = time.process_time()
    said = atrous.sizes(model.source if file else model.eval(), shape)
    seconds = time.process_time() - start
    running = model if file else Running(build().eval().to("meta"))
    thin = model if file else Running(build().eval())
    probed = None if file or shape[1] > THIN or not said.attainable else build().eval().double()
    base = shape[2:] if said.tied and said.legal(shape) else said.nearest(shape)
    shape = (*shape[:2], *base)
    alike = all(one is said.along[0] for one in said.along)
    lines = [[i] for i in range(2, len(shape))]
    lines += [list(range(2, len(shape)))] if len(shape) > 3 else []
    counts, wrong = Counter(), []
    for places in lines:
        truth = {n: running.at(resized(shape, places, n), "meta") for n in range(1, LAST + 1)}
        counts["sizes"] += len(truth)
        here = compared(said, shape, places, truth, counts)
        # Tied axes that are alike were tried together, others one by one.
        if not said.tied or (alike and len(places) > 1):
            here += nearest(said, shape, places, truth)
        turns = [n for n in range(2, LAST) if runs(truth[n]) != runs(truth[n - 1])]
        tried = [] if file else sorted({m for n in turns for m in (n - 1, n)})[:REAL]
        for n in tried:
            at = resized(shape, places, n)
            if math.prod(at) > MOST:
                continue
            counts["real"] += 1
            real = thin.at(at, "cpu")
            if runs(real) != runs(truth[n]) or real.get("shapes") != truth[n].get("shapes"):
                here.append((n, f"meta {truth[n]}, with numbers {real}"))
        new = said.along.index(said.along[places[0] - 2]) == places[0] - 2
        if len(places) == 1 and not said.tied and new:
            here += probing(said, probed, shape, places[0], truth, counts)
        wrong += [(places, *one) for one in here]
    wrong += [("drawn", *one) for one in drawn(said, running, shape, counts)]
    entry = {"seconds": round(seconds, 1), **counts, "wrong": wrong, "tied": said.tied}
    return entry | {
        "period": said.period,
        "least": None if said.tied and not alike else said.least,
        "alike": alike,
        "commit": commit(),
    }


def probing(said, probed, shape, place, truth, counts):
    """All that is measured along one axis, the others as short as the model takes them."""
    one, wrong, losing = said.along[place - 2], [], {}
    if probed is not None:
        short = tuple(axis.near(8, "runs")[1] or axis.least for axis in said.along)
        at = (*shape[:2], *short)
        later = range(one.least, one.least + one.period) if one.least > LAST else ()
        for n in [*truth, *later]:
            if not said.legal(resized(at, [place], n)[2:]):
                losing[n] = True
                continue
            counts["drops"] += 1
            losing[n] = loses(probed, resized(at, [place], n), place)
            if losing[n] == one.at(n).lossless:
                wrong.append((n, f"dropped {one.at(n).dropped}, by NaN {losing[n]}"))
        wrong += aligning(said, probed, at, place, counts)
    else:
        losing = {n: not one.at(n).lossless for n in truth}
    wrong += periods(one, truth, losing, counts)
    return wrong + fitting(said, shape, place, truth, losing, counts)


def main():
    """Measures what is asked for, and keeps what was measured before."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    results = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    for name in MODELS:
        if asked.only not in name:
            continue
        start = time.perf_counter()
        try:
            results[name] = measured(name)
        except Exception as error:
            results[name] = {"failed": f"{type(error).__name__}: {error}"}
        found = results[name]
        spent = time.perf_counter() - start
        print(
            name, f"{spent:.0f} s", found.get("failed", ""), len(found.get("wrong", ())), flush=True
        )
        for one in found.get("wrong", ())[:4]:
            print("   ", str(one)[:300], flush=True)
        asked.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
