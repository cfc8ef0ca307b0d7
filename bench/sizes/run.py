"""Runs every model at every size from 1 to 300, and holds what `sizes` says against it.

    python bench/sizes/run.py [--only TEXT] [--out FILE]

Along each axis alone, the others as they are in the example, and along all of them at once. The
models run on PyTorch's meta device, which makes shapes and no numbers; at sizes on both sides of
each change between running and not they also run with numbers, and must do the same there.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
import warnings
from pathlib import Path

import torch
from models import MODELS

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import atrous
from atrous.errors import UnsupportedError
from bench.shared.commit import commit

HERE = Path(__file__).parent
LAST = 300
REAL = 24
"""Sizes at which a model also runs with numbers, at most."""
MOST = 1 << 21
"""Numbers in an input that is run for real, at most."""
JOINS = ("must match the size of tensor b", "Sizes of tensors must match")
NAMED = re.compile(r": (\S+|the module itself) joins maps of (\d+) and (\d+) positions")


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
    """Whether a model ran and made something."""
    return "shapes" in found and all(all(shape) for shape in found["shapes"])


def compared(said, shape, places, truth):
    """What `sizes` says that the runs do not, size by size."""
    wrong, joins = [], 0
    for n, found in truth.items():
        at = resized(shape, places, n)[2:]
        try:
            legal = said.legal(at)
        except UnsupportedError:
            wrong.append((n, "not known"))
            continue
        if legal != runs(found):
            wrong.append((n, f"legal {legal}, PyTorch {found}"))
            continue
        if not legal:
            if any(text in found["says"] for text in JOINS):
                joins += 1
                named = NAMED.search(said.why(at))
                path = found["in"] or "the module itself"
                if named is None or named[1] != path:
                    wrong.append((n, f"{path} named {said.why(at)}"))
            continue
        along = [one.at(m) for one, m in zip(said.along, at, strict=True)]
        if found["shapes"] and all(len(made) == len(shape) for made in found["shapes"]):
            for i in places:
                made = tuple(one[i] for one in found["shapes"])
                ours = along[i - 2].outputs
                # The record of several axes has the longest of them.
                if len(set(at)) == 1 and ours != made and set(made) != {1}:
                    wrong.append((n, f"outputs {ours}, PyTorch {made}"))
            same = all(made[2:] == at for made in found["shapes"])
            if same != said.same(at):
                wrong.append((n, f"same {said.same(at)}, PyTorch {same}"))
    return wrong, joins


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


def measured(name):
    """All of one model."""
    build, shape = MODELS[name]
    model = build().eval()
    start = time.process_time()
    said = atrous.sizes(model, shape)
    seconds = time.process_time() - start
    running, thin = Running(build().eval().to("meta")), Running(model)
    base = said.nearest(shape)
    shape = (*shape[:2], *base)
    lines = [[i] for i in range(2, len(shape))]
    lines += [list(range(2, len(shape)))] if len(shape) > 3 else []
    entry = {"seconds": round(seconds, 1), "sizes": 0, "joins": 0, "real": 0, "wrong": []}
    for places in lines:
        truth = {n: running.at(resized(shape, places, n), "meta") for n in range(1, LAST + 1)}
        wrong, joins = compared(said, shape, places, truth)
        wrong += nearest(said, shape, places, truth)
        turns = [n for n in range(2, LAST) if runs(truth[n]) != runs(truth[n - 1])]
        tried = sorted({m for n in turns for m in (n - 1, n)})[:REAL]
        for n in tried:
            at = resized(shape, places, n)
            if math.prod(at) > MOST:
                continue
            entry["real"] += 1
            real = thin.at(at, "cpu")
            if runs(real) != runs(truth[n]) or real.get("shapes") != truth[n].get("shapes"):
                wrong.append((n, f"meta {truth[n]}, with numbers {real}"))
        entry["sizes"] += len(truth)
        entry["joins"] += joins
        entry["wrong"] += [(places, *one) for one in wrong]
    alike = all(one is said.along[0] for one in said.along)
    entry |= {"period": said.period, "least": said.least, "alike": alike, "commit": commit()}
    return entry


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
