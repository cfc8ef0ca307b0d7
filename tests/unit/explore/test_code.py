"""The code that the page gives is the stack that the page shows."""

from __future__ import annotations

import random

import pytest
import torch

import atrous
from atrous.errors import AtrousError, UnsupportedError
from atrous.explore.code import keras_code, onnx_code, pytorch_code
from atrous.explore.draft import Draft
from atrous.explore.presets import PRESETS

STACKS = [
    *((preset.stack, preset.input) for preset in PRESETS),
    ("k3d2causalx4 maxk3s2 avgk2s2valid tconvk3s2 ups2 dwk5d2", (1, 6, 40, 33)),
    ("k(1,7)s(2,1)x8 k3p(3,0) tconvk2s3causal k3p(-1,2)", (2, 3, 24, 30)),
    ("k3 dwk3s2 maxk3s2same tconvk4s2 avgk3d2", (1, 4, 12, 13, 14)),
    ("k2causal maxk2d3causal tconvk5s2valid", (1, 4, 50)),
    ("dwk4s3 avgk5", (1, 4, 12, 17, 12)),
    ("tconvk5s(3,1)d(1,2)x4p5", (1, 4, 9, 9)),
]


def drawn(seed):
    rng = random.Random(seed)
    layers = []
    for _ in range(rng.randint(1, 4)):
        kind = rng.choice(["", "", "dw", "max", "avg", "tconv", "ups2"])
        if kind == "ups2":
            layers.append(kind)
            continue
        pad = rng.choice(["", "valid", "causal", "p(2,1)", "p(0,3)"])
        text = f"{kind}k{rng.randint(1, 4)}s{rng.randint(1, 3)}d{rng.randint(1, 3)}{pad}"
        layers.append(text + ("x6" if kind in ("", "tconv") and rng.random() < 0.5 else ""))
    return " ".join(layers), (1, 3, *(rng.randint(20, 40) for _ in range(rng.randint(1, 3))))


def drafts():
    out = [Draft.of(text, shape) for text, shape in STACKS]
    for seed in range(60):
        try:
            out.append(Draft.of(*drawn(seed)))
        except AtrousError:
            continue
    return out


DRAFTS = drafts()


def fields(report):
    return [[(a.size, a.taps, a.stride, a.start) for a in out.field] for out in report.outputs]


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.text)
def test_the_pytorch_code_is_the_stack(draft):
    names = {}
    exec(pytorch_code(draft).replace("print(", "_ = ("), names)
    report = atrous.inspect(names["model"].eval(), draft.shape)
    assert report.outputs[0].output_shape == draft.report().outputs[0].output_shape
    assert fields(report) == fields(draft.report())


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.text)
def test_the_onnx_code_is_the_stack(draft, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(onnx_code(draft), {"__name__": "script"})
    report = atrous.inspect(str(tmp_path / "stack.onnx"))
    assert report.outputs[0].output_shape == draft.report().outputs[0].output_shape
    assert fields(report) == fields(draft.report())
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(tmp_path / "stack.onnx", providers=["CPUExecutionProvider"])
    [made] = session.run(None, {"x": torch.randn(draft.shape).numpy()})
    assert made.shape == draft.report().outputs[0].output_shape


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.text)
def test_the_keras_code_is_python_or_says_what_keras_lacks(draft):
    lacking = [
        layer
        for layer in draft.layers
        if layer.kind == "tconv" and max(layer.stride) > 1 and max(layer.dilation) > 1
    ]
    if lacking:
        with pytest.raises(UnsupportedError, match=f"{lacking[0].name}: Keras has no transposed"):
            keras_code(draft)
    else:
        compile(keras_code(draft), "keras", "exec")
