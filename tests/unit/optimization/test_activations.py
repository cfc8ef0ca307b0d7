"""Every activation behind every strategy that applies: fused or not, it is what PyTorch makes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import atrous.optimization.candidates  # noqa: F401 - registers the strategies
from atrous.geometry import Window
from atrous.operators.kernels.layer import activation_code
from atrous.optimization.layer.activations import NONE, Activation, activated
from atrous.optimization.layer.call import LayerCall, laid_out
from atrous.optimization.layer.ways import PLAIN, WAYS, applying, runs_of

NAMES = {
    "none": (),
    "relu": (),
    "relu6": (),
    "hardtanh": (-0.5, 0.75),
    "silu": (),
    "hardswish": (),
    "hardsigmoid": (),
    "gelu": (),
    "gelu_tanh": (),
    "sigmoid": (),
    "tanh": (),
    "leaky_relu": (0.3,),
    "elu": (0.7, 1.0, 1.0),
    "mish": (),
}
LAYERS = {
    "point": ((1, 64, 12, 12), (64, 64, 1, 1), 1, Window(1, 1, 1)),
    "dense": ((1, 16, 12, 12), (16, 16, 3, 3), 1, Window(3, 1, 1, 1, 1)),
    "depthwise": ((1, 16, 12, 12), (16, 1, 3, 3), 16, Window(3, 1, 1, 1, 1)),
    "linear": ((2, 100, 64), (64, 64), 1, None),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_applies_every_activation(layer, name):
    given, weights, groups, window = LAYERS[layer]
    torch.manual_seed(0)
    x, weight = torch.randn(given), torch.randn(weights) / (weights[1] * 9) ** 0.5
    bias = torch.randn(weights[0])
    activation = Activation(name, NAMES[name]) if name != "none" else NONE
    for layout in ("contiguous", "channels_last"):
        call = LayerCall(
            "linear" if window is None else "conv",
            given,
            weights,
            True,
            () if window is None else (window,) * 2,
            groups,
            activation,
            layout=layout,
        )
        ways, _ = applying(call)
        laid = laid_out(x, layout)
        wanted = runs_of(WAYS[PLAIN], weight, bias, replace(call, activation=NONE))
        with torch.inference_mode():
            wanted = activated(wanted(laid).clone(), activation)
            for way in ways:
                made = runs_of(way, weight, bias, call)(laid)
                torch.testing.assert_close(made, wanted, atol=3e-5, rtol=1e-5, msg=way.name)


@pytest.mark.parametrize("name", ["relu 3", "leaky_relu ", "leaky_relu x", "leaky_relu_0.3", ""])
def test_what_names_no_activation_is_refused(name):
    with pytest.raises(ValueError, match="no activation is named"):
        activation_code(name)
