"""What is said of PyTorch's slow paths: against its profiler, and against oneDNN's own log."""

from __future__ import annotations

import pickle
import platform
import random
import re
from dataclasses import fields

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.profiler import profile

from atrous.operators.kernels import native
from atrous.optimization.records import Explanation, LayerChoice
from atrous.optimization.slow_path import slow_path
from tests.made_times import optimized_by
from tests.processes import ROOT

CONVS = (functional.conv1d, functional.conv2d, functional.conv3d)
OWN = {"aten::slow_conv_dilated2d", "aten::slow_conv_dilated3d"}
OWN_IN_DOUBLE = {*OWN, "aten::thnn_conv2d", "aten::slow_conv3d"}


def ran(x, weight, settings):
    """The operations that PyTorch runs for a convolution."""
    with torch.no_grad(), profile() as seen:
        CONVS[x.dim() - 3](x, weight, None, *settings)
    return {event.key for event in seen.key_averages()}


def drawn(seed):
    """A small layer: input, weight, and stride, padding, dilation, groups."""
    draw = random.Random(seed)
    rank = draw.choice([1, 2, 2, 3])
    dtype = draw.choice([torch.float32, torch.float32, torch.float64])
    batch, channels = draw.choice([1, 1, 2]), draw.choice([4, 8, 16])
    groups = draw.choice([1, channels, channels, 2])
    kernel = [draw.choice([1, 2, 3, 5]) for _ in range(rank)]
    dilation = [draw.choice([1, 1, 2, 4, 7]) for _ in range(rank)]
    padding = [draw.choice([0, 1, d * (k // 2)]) for d, k in zip(dilation, kernel, strict=True)]
    size = [
        d * (k - 1) + 1 + draw.randint(0, (40, 24, 5)[rank - 1])
        for d, k in zip(dilation, kernel, strict=True)
    ]
    stride = [draw.choice([1, 1, 2]) for _ in range(rank)]
    x = torch.zeros(batch, channels, *size, dtype=dtype)
    weight = torch.zeros(channels, channels // groups, *kernel, dtype=dtype)
    return x, weight, (stride, padding, dilation, groups)


def assert_is_what_ran(said, ops, dtype):
    slow = OWN if dtype == torch.float32 else OWN_IN_DOUBLE
    named = {f"aten::{name}" for name in re.findall(r"`(\w+)`", said)}
    assert named == ops & slow
    if "oneDNN's generic path" in said:
        assert "aten::mkldnn_convolution" in ops


def test_the_paths_that_are_named_are_those_that_the_profiler_sees():
    said = []
    for seed in range(60):
        x, weight, settings = drawn(seed)
        said.append(slow_path(x, weight, None, *settings))
        assert_is_what_ran(said[-1], ran(x, weight, settings), x.dtype)
    assert 10 < sum("PyTorch's own path" in one for one in said) < 50
    assert any("so small an input" in one for one in said)
    assert any("no convolution in float64" in one for one in said)
    assert said.count("") > 5


def test_a_path_that_did_not_run_is_noticed():
    with pytest.raises(AssertionError):
        assert_is_what_ran("`slow_conv3d`", {"aten::mkldnn_convolution"}, torch.float64)
    with pytest.raises(AssertionError):
        assert_is_what_ran("", {"aten::slow_conv_dilated2d"}, torch.float32)


@pytest.mark.parametrize(
    ("channels", "is_said"), [(5, True), (6, False)], ids=["20,480 numbers", "more"]
)
def test_where_an_input_is_large_enough_for_onednn(channels, is_said):
    x, weight = torch.zeros(1, channels, 64, 64), torch.zeros(2, channels, 3, 3)
    settings = ([1, 1], [2, 2], [2, 2], 1)
    assert bool(slow_path(x, weight, None, *settings)) == is_said
    assert ("aten::mkldnn_convolution" in ran(x, weight, settings)) != is_said


DEPTHWISE = [
    # Sizes, kernel, stride, padding, dilation.
    ((40, 40), (3, 3), (1, 1), (7, 7), (7, 7)),
    ((40, 40), (3, 3), (1, 1), (6, 6), (6, 6)),
    ((40, 40), (3, 3), (1, 1), (1, 9), (1, 9)),
    ((40, 40), (3, 3), (1, 1), (9, 1), (9, 1)),
    ((40, 40), (3, 3), (2, 2), (7, 7), (7, 7)),
    ((40, 40), (3, 3), (1, 1), (0, 0), (7, 7)),
    ((40, 40), (7, 7), (1, 1), (9, 9), (3, 3)),
    ((40, 40), (15, 15), (1, 1), (7, 7), (1, 1)),
    ((64,), (3,), (1,), (16,), (16,)),
    ((64,), (3,), (1,), (2,), (2,)),
    ((9, 9, 9), (3, 3, 3), (1, 1, 1), (2, 2, 2), (2, 2, 2)),
    ((9, 9, 9), (3, 3, 3), (1, 1, 1), (2, 1, 1), (2, 1, 1)),
    ((9, 9, 9), (3, 3, 3), (2, 2, 2), (0, 0, 0), (2, 2, 2)),
    ((9, 9, 9), (3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
]


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available(),
    reason="oneDNN's kernels for x86-64",
)
def test_the_refusals_of_onednn_are_those_of_its_log(capfd):
    said = []
    for sizes, kernel, *settings in DEPTHWISE:
        x, weight = torch.zeros(1, 16, *sizes), torch.zeros(16, 1, *kernel)
        said.append(slow_path(x, weight, None, *settings, 16))
        capfd.readouterr()
        with torch.no_grad(), torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            CONVS[len(sizes) - 1](x, weight, None, *settings, 16)
        log = capfd.readouterr().out
        kernels = re.findall(r"exec,cpu,convolution,([^,]*),", log)
        assert len(kernels) == 1, log
        if said[-1]:
            assert "gemm" in kernels[0]
        elif settings[1][-1] <= 3:
            assert "_dw" in kernels[0]
    assert [bool(one) for one in said] == [
        *(True, False, True, False, True, False, True, True),
        *(True, False, True, True, True, False),
    ]


def test_channels_last_and_other_depthwise_layers_are_not_judged():
    x, weight = torch.zeros(1, 16, 40, 40), torch.zeros(16, 1, 3, 3)
    settings = ([1, 1], [7, 7], [7, 7], 16)
    assert "here 7" in slow_path(x, weight, None, *settings)
    assert not slow_path(x.contiguous(memory_format=torch.channels_last), weight, None, *settings)
    assert not slow_path(x, weight.to(memory_format=torch.channels_last), None, *settings)
    assert not slow_path(x, torch.zeros(32, 1, 3, 3), None, *settings)
    assert not slow_path(x[0], weight, None, *settings)


def test_sixteen_bits_are_slow_where_the_processor_has_nothing_for_them(monkeypatch):
    x, weight = torch.zeros(1, 16, 40, 40), torch.zeros(16, 1, 3, 3)
    said = slow_path(x.bfloat16(), weight.bfloat16(), None, [1, 1], [7, 7], [7, 7], 16)
    taken = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert said == ("" if taken else "`slow_conv_dilated2d`, PyTorch's own path: oneDNN is not "
                    "given bfloat16 on this processor")  # fmt: skip
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    said = slow_path(x.bfloat16(), weight.bfloat16(), None, [1, 1], [7, 7], [7, 7], 16)
    assert said.endswith("it is not given to oneDNN")


@pytest.mark.parametrize("training", [False, True])
def test_an_explanation_says_which_layers_were_slow_and_why(training, tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    model = nn.Sequential(
        nn.Conv2d(16, 16, 3, padding=9, dilation=9, groups=16),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 16, 3, padding=9, dilation=9, groups=16),
    ).train(training)
    x = torch.randn(1, 16, 40, 40)
    # In channels last nothing was slow.
    found = optimized_by(model, x, "depthwise kernel", "contiguous", training=training).explain()
    rows = {row.layer: row.slow_path for row in found.layers}
    assert found.layout == "contiguous"
    if platform.machine() in ("x86_64", "AMD64") and native().available:
        assert [bool(rows[name]) for name in ("0", "1", "2")] == [True, False, True]
        assert "slow path     0, 2: before by oneDNN's generic path" in str(found)
        assert found.to_dict()["layers"][0]["slow_path"] == rows["0"]


def test_the_documents_name_every_field_of_a_row_and_of_the_whole():
    text = (ROOT / "docs" / "fast.md").read_text(encoding="utf-8")
    for kind, owner in ((LayerChoice, "row"), (Explanation, "found")):
        named = re.findall(rf"^\| `{owner}\.(\w+)` \|", text, re.MULTILINE)
        properties = [name for name in named if isinstance(getattr(kind, name, None), property)]
        assert [name for name in named if name not in properties] == [f.name for f in fields(kind)]


def test_a_row_that_was_saved_before_it_named_paths_is_read():
    row = LayerChoice("a", "conv", "torch", 1.0, 1.0, slow_path="x")
    assert pickle.loads(pickle.dumps(row)) == row
    old = object.__new__(LayerChoice)
    old.__setstate__(["a", "conv", "torch", 1.0, 1.0, None, (), ()])
    assert old == LayerChoice("a", "conv", "torch", 1.0, 1.0)
    text = str(Explanation("net", "graph", "contiguous", 2.0, 1.0, 0.0, (old,), (), 1, "", ()))
    assert "slow path" not in text
