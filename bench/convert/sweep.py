"""Converts real backbones and runs them beside their originals in float64.

    python bench/convert/sweep.py [NAME ...] [--again]
                                  [--limit SECONDS] [--processes N] [--minutes M]

For each model of `models.txt` (those that are `watched` the tests convert again) and each output
stride: the verdict, and the largest relative error over all outputs at four input sizes, two that
divide and two that do not, weights drawn and batch norms calibrated. The dense map is compared with
`dense[..., ::D, ::D][..., :n, :n] == original`, borders included, which asks nothing of the
library. Models that are marked `resample` join maps of several sizes and are converted with
`resample=True`. Where layers mix all positions, the modules that hold them are replaced by a
constant gate, and the result is compared again.

Each model has a process of its own. Results are kept in `results.json` after each, with the commit
that they were made at; a run that was stopped (or that starts no more models after M minutes) goes
on where it was. `table.py` writes the README's table.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import torch  # noqa: E402

from atrous import AtrousError, Conversion, ConversionError, convert  # noqa: E402
from atrous.readers.named import make, parse  # noqa: E402
from bench.shared.apart import Job, run_apart  # noqa: E402
from bench.shared.commit import CHANGED, commit  # noqa: E402
from tests.torchvision_schemas import let_torchvision_import  # noqa: E402
from tests.weights import draw  # noqa: E402

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
LINES = [line.split() for line in (HERE / "models.txt").read_text().splitlines()]
MODELS = [name for name, *_ in LINES]
WATCHED = [name for name, *marks in LINES if "watched" in marks]
"""Those that the tests convert again."""
RESAMPLED = {name for name, *marks in LINES if "resample" in marks}
"""Those with joins of maps of several sizes, which are resampled."""
SIZES = (96, 127, 128, 129)
STRIDES = (16, 8, 4)
TRUNKS = {
    "resnet": "layer4",
    "resnext": "layer4",
    "vgg": "features",
    "densenet": "features",
    "mobilenet": "features",
    "mnasnet": "layers",
    "shufflenet": "conv5",
    "squeezenet": "features",
    "googlenet": "inception5b",
    "inception": "Mixed_7c",
    "regnet": "trunk_output",
    "convnext": "features",
    "efficientnet": "features",
    "alexnet": "features",
}


class Gate(torch.nn.Module):
    """A gate that does not look at the map."""

    def forward(self, x, *_args, **_kwargs):
        return x * 0.7


def maps(model, x, layer):
    """The model's maps, coarsest last, or the one of a layer."""
    caught = []
    hook = (
        model.get_submodule(layer).register_forward_hook(
            lambda _m, _a, out: caught.append(out.detach().clone())
        )
        if layer
        else None
    )
    out = model(x)
    if hook is not None:
        hook.remove()
        return caught
    return list(out.values()) if isinstance(out, dict) else list(out)


def errors(original, dense, layer, channels_last):
    """By size: the largest relative error of any output, and the coarsest map's size."""
    found = {}
    for size in SIZES:
        x = torch.randn(1, 3, size, size, dtype=torch.double)
        try:
            before = maps(original, x, layer)
        except RuntimeError:
            continue  # the original itself does not take this size
        after = maps(dense, x, layer)
        worst = 0.0
        for one, two in zip(before, after, strict=True):
            if channels_last:
                one, two = one.movedim(-1, 1), two.movedim(-1, 1)
            n, wide = one.shape[-1], two.shape[-1]
            factor = next((d for d in (1, 2, 4, 8, 16) if -(-wide // d) == n), None)
            if factor is None:
                worst = float("inf")
                break
            kept = two[..., ::factor, ::factor]
            worst = max(worst, float((kept - one).pow(2).mean().sqrt() / one.std()))
        found[size] = (worst, after[-1].shape[1 if channels_last else -1])
    return found


def gated(model, certificate):
    """The model with every module that mixes all positions replaced, or None."""
    model = copy.deepcopy(model)
    names = {c.layer for c in certificate.causes if "mixes all positions" in c.why}
    replaced = False
    for name in names:
        path = name
        while path and "." in path:
            try:
                model.get_submodule(path)
                break
            except AttributeError:
                path = path.rpartition(".")[0]
        if isinstance(model.get_submodule(path), torch.nn.AdaptiveAvgPool2d):
            # The pool inside squeeze-and-excitation: the gate is the module around it.
            path = path.rpartition(".")[0]
        parent, _, last = path.rpartition(".")
        try:
            setattr(model.get_submodule(parent), last, Gate())
            replaced = True
        except AttributeError:
            continue
    return model if replaced else None


def made(source):
    """The model with drawn weights, the layer whose map counts, and whether channels are last."""
    let_torchvision_import()
    scheme, _, name = source.partition(":")
    layer = None
    torch.manual_seed(0)
    if scheme == "transformers":
        from bench.convert.families import transformers_model

        model = transformers_model(name).double().eval()
        draw(model, SIZES[0])
        return model, None, False
    if scheme == "timm":
        source = f"{source}?features_only=true"
    elif scheme == "torchvision":
        layer = TRUNKS[next(k for k in TRUNKS if name.startswith(k))]
    torch.manual_seed(0)
    model = make(parse(source)).model.double().eval()
    draw(model, SIZES[0])
    channels_last = getattr(model, "output_fmt", "") == "NHWC" or "mambaout" in name
    return model, layer, channels_last


def converted(model, layer, stride, *, resample=False):
    """The model at an output stride, not measured; what of it does not depend on a run."""
    try:
        done = convert(
            model,
            stride,
            input=(1, 3, SIZES[2], SIZES[2]),
            outputs=layer,
            measure=False,
            resample=resample,
        )
    except (ConversionError, AtrousError) as error:
        return None, {"refused": str(error)}
    return done, {
        "verdict": done.certificate.verdict,
        "edits": len(done.edits),
        "class": type(done.model).__name__ == type(model).__name__,
        "keys": list(done.model.state_dict()) == list(model.state_dict()),
        "causes": [str(c) for c in done.certificate.causes[:2]],
    }


def one(source):
    """All that is found out about one model."""
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    model, layer, channels_last = made(source)
    found = {"commit": commit()}
    for stride in STRIDES:
        start = time.perf_counter()
        done, entry = converted(model, layer, stride, resample=source in RESAMPLED)
        found[str(stride)] = entry
        if done is None:
            continue
        entry["seconds"] = round(time.perf_counter() - start, 1)
        entry["errors"] = errors(model, done.model, layer, channels_last)
        if done.certificate.verdict == "approximate":
            entry["gated"] = gated_too(model, done, stride, layer, channels_last)
    return found


def gated_too(model, done: Conversion, stride, layer, channels_last):
    """What comes of the model whose layers that mix all positions are gates."""
    try:
        plain = gated(model, done.certificate)
        draw(plain, SIZES[0])
        again, entry = converted(plain, layer, stride)
        if again is None:
            return {"refused": entry["refused"][:200]}
        return {
            "verdict": again.certificate.verdict,
            "errors": errors(plain, again.model, layer, channels_last),
        }
    except (AtrousError, RuntimeError, AttributeError) as error:
        return {"refused": str(error)[:200]}


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--again", action="store_true", help="also models that have a result")
    parser.add_argument("--limit", type=float, default=900, help="seconds for a model")
    parser.add_argument("--processes", type=int, default=1, help="models at a time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no more then")
    asked = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    fixed = not commit().endswith(CHANGED)
    jobs = [
        Job(name, one, (name,))
        for name in asked.names or MODELS
        if name not in results
        or (asked.again and (asked.names or not fixed or results[name].get("commit") != commit()))
    ]
    for name, found in run_apart(
        jobs, limit=asked.limit, processes=asked.processes, minutes=asked.minutes
    ):
        if found.get("status") == "unfinished" and name in results:
            print(name, found["reason"], "- what was found before is kept", flush=True)
            continue
        if "status" in found:
            found = {"commit": commit(), "failed": f"{found['status']}: {found['reason']}"[:200]}
        results[name] = found
        part = RESULTS.with_suffix(".part")
        part.write_text(json.dumps(results, indent=1) + "\n")
        os.replace(part, RESULTS)  # noqa: PTH105 - whole or not at all
        print(name, json.dumps(found)[:300], flush=True)


if __name__ == "__main__":
    main()
