"""Converts real backbones and runs them beside their originals in float64.

    python bench/convert/sweep.py [NAME ...] [--again]

For each model of `models.txt` and each output stride: the verdict, and the largest relative error
over all outputs at four input sizes, two that divide and two that do not, weights drawn and batch
norms calibrated. The dense map is compared with `dense[..., ::D, ::D][..., :n, :n] == original`,
borders included, which asks nothing of the library. Where layers mix all positions, the modules
that hold them are replaced by a constant gate, and the result is compared again.

Results are kept in `results.json`; `table.py` writes the README's table.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
import tests.conftest  # noqa: F401 - torchvision's op schemas, where its library cannot load
from atrous import AtrousError, ConversionError, convert
from atrous.readers.named import make, parse
from tests.weights import draw

HERE = Path(__file__).parent
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

    def forward(self, x):
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


def one(source):
    """All that is found out about one model."""
    scheme, _, name = source.partition(":")
    layer = None
    if scheme == "timm":
        source = f"{source}?features_only=true"
    else:
        key = next(k for k in TRUNKS if name.startswith(k))
        layer = TRUNKS[key]
    found = {}
    torch.manual_seed(0)
    model = make(parse(source)).model.double().eval()
    draw(model, SIZES[0])
    channels_last = getattr(model, "output_fmt", "") == "NHWC" or "mambaout" in name
    for stride in STRIDES:
        start = time.perf_counter()
        try:
            done = convert(
                model, stride, input=(1, 3, SIZES[2], SIZES[2]), outputs=layer, measure=False
            )
        except (ConversionError, AtrousError) as error:
            found[stride] = {"refused": str(error)}
            continue
        seconds = time.perf_counter() - start
        entry = {
            "verdict": done.certificate.verdict,
            "edits": len(done.edits),
            "class": type(done.model).__name__ == type(model).__name__,
            "keys": list(done.model.state_dict()) == list(model.state_dict()),
            "seconds": round(seconds, 1),
            "causes": [str(c) for c in done.certificate.causes[:2]],
            "errors": errors(model, done.model, layer, channels_last),
        }
        if done.certificate.verdict == "approximate":
            plain = gated(model, done.certificate)
            try:
                draw(plain, SIZES[0])
                again = convert(
                    plain, stride, input=(1, 3, SIZES[2], SIZES[2]), outputs=layer, measure=False
                )
                entry["gated"] = {
                    "verdict": again.certificate.verdict,
                    "errors": errors(plain, again.model, layer, channels_last),
                }
            except (AtrousError, RuntimeError, AttributeError) as error:
                entry["gated"] = {"refused": str(error)[:200]}
        found[stride] = entry
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--again", action="store_true", help="also models that have a result")
    asked = parser.parse_args()
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    names = asked.names or (HERE / "models.txt").read_text().split()
    warnings.simplefilter("ignore")
    torch.set_grad_enabled(False)
    for name in names:
        if name in results and not asked.again:
            continue
        try:
            results[name] = one(name)
        except Exception as error:  # one model that cannot be made must not end the sweep
            results[name] = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
        path.write_text(json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(results[name])[:300], flush=True)


if __name__ == "__main__":
    main()
