"""Recurrent layers, whose gates ONNX has in another order than PyTorch."""

from __future__ import annotations

import torch

from atrous.errors import ReadError
from atrous.runners.rebuilt.call import Made, RebuiltCall, rebuilds

__all__: list[str] = []

_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Input, forget, cell, output of input, output, forget, cell; reset, update of update, reset."""
_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@rebuilds(*_ORDER)
def _recurrence(call: RebuiltCall) -> Made:
    """The states of all steps, `(time, ways, batch, hidden)`, and the last ones."""
    x, w, r = call.tensor(0), call.tensor(1), call.tensor(2)
    ways = w.shape[0]
    direction = call.text("direction", "forward")
    functions = _functions(call, ways)
    _check_plain(call, functions, ways)
    if w.dim() != 3 or r.dim() != 3 or ways != (2 if direction == "bidirectional" else 1):
        raise ReadError(f"direction {direction[:40]!r} does not fit weights of {tuple(w.shape)}.")
    if call.integer("layout"):
        raise call.refusal("has the batch in front")
    batch, hidden = x.shape[1], r.shape[2]
    params, has_biases = _recurrent_weights(call, w, r)
    states = []
    for place in (5, 6)[: 2 if call.op == "LSTM" else 1]:
        held = call.optional(place)
        states.append(x.new_zeros((ways, batch, hidden)) if held is None else held)
    if direction == "reverse":
        x = x.flip(0)
    rest = (params, has_biases, 1, 0.0, False, ways == 2, False)
    if call.op == "LSTM":
        made, *last = torch.lstm(x, states, *rest)
    else:
        relu = call.op == "RNN" and functions[0] == "Relu"
        run = torch.gru if call.op == "GRU" else torch.rnn_relu if relu else torch.rnn_tanh
        made, *last = run(x, states[0], *rest)
    if direction == "reverse":
        made = made.flip(0)
    if ways == 1:
        return [made.unsqueeze(1), *last]
    return [made.reshape(*made.shape[:2], ways, hidden).transpose(1, 2), *last]


def _functions(call: RebuiltCall, ways: int) -> list[str]:
    """The names of the activations, those of all ways one behind the other."""
    found = [one for one in call.node.attribute if one.name == "activations"]
    if not found:
        return _USUAL[call.op] * ways
    return [text.decode("utf-8", "replace") for text in found[0].strings]


def _check_plain(call: RebuiltCall, functions: list[str], ways: int) -> None:
    """Raises where the layer does what PyTorch's does not."""
    known = [_USUAL[call.op] * ways]
    if call.op == "RNN":
        known.append(["Relu"] * ways)
    if functions not in known:
        raise call.refusal(f"has the activations {', '.join(one[:20] for one in functions[:6])}")
    if call[4] is not None:
        raise call.refusal("takes sequences of several lengths")
    odd = call.integer("input_forget") or call.has("clip")
    if odd or call[7] is not None:
        raise call.refusal("has peepholes, coupled gates or clipped ones")
    if call.op == "GRU" and not call.integer("linear_before_reset"):
        raise call.refusal("resets what its new gate reads (linear_before_reset=0)")


def _recurrent_weights(
    call: RebuiltCall, w: torch.Tensor, r: torch.Tensor
) -> tuple[list[torch.Tensor], bool]:
    """The weights of each way as PyTorch has them, and whether biases are among them."""
    bias, order = call.optional(3), _ORDER[call.op]
    found: list[torch.Tensor] = []

    def sorted_gates(x: torch.Tensor) -> torch.Tensor:
        gates = x.chunk(len(order), 0)
        return torch.cat([gates[i] for i in order], 0) if len(order) > 1 else x

    for way in range(w.shape[0]):
        found += [sorted_gates(w[way]), sorted_gates(r[way])]
        if bias is not None:
            found += [sorted_gates(half) for half in bias[way].chunk(2, 0)]
    return found, bias is not None
