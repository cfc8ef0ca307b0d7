"""Steps of recurrent layers along time, one for each layer, and what they carry."""

from __future__ import annotations

from typing import Any

import numpy as np

from atrous.operators.kernels.stream import panels_of
from atrous.operators.kernels.torch_carried import LayerState
from atrous.runners.stream.native.written import RECURRENT, NativeStep, Written, writes
from atrous.runners.stream.rules.base import Timed

__all__: list[str] = []

_VECTOR = 16
"""Gates are padded to as many floats: whole vectors of every instruction set."""


@writes(" ".join(RECURRENT))
def _recurrent(written: Written, call: Timed) -> None:
    x, out, name = call.operand("input"), call.value, call.name
    if not written.rule(out).stateful:
        raise call.refusal(f"its {name} has time in its batch")
    gates, states = {"lstm": (4, 2), "gru": (3, 1)}.get(name, (1, 1))
    layers, biased = int(call["num_layers"]), bool(call["has_biases"])
    params = [written.seen(call.known.constant(node)) for node in call["params"]]
    if len(params) != layers * (4 if biased else 2):
        raise call.refusal(f"its {name} has projections")
    units = params[1].shape[1]
    hidden = -(-units // _VECTOR) * _VECTOR
    # What is beside time is the batch of the layer: sequences that run for themselves.
    several = 1 - x.dim
    sequences = 1 if written.batch > 1 else x.shape[several]
    strides = written.strides[x.index]
    if x.shape[2] > 1 and strides[2] != 1:
        raise call.refusal(f"its {name} takes channels that are apart")
    written.root(out)
    written.parts[out.index] = [(written.strides[out.index], 0)]
    source, jump = x.index, strides[several] if sequences > 1 else 0
    for layer in range(layers):
        enter, carry, *biases = params[layer * len(params) // layers :][: 4 if biased else 2]
        fields: dict[str, Any] = {"channels": enter.shape[1], "filters": gates * hidden}
        fields |= {"units": units, "out_places": sequences, "left_jump": jump, "out_jump": units}
        fields["weight"] = _panels(written, enter, gates, hidden)
        fields["carry_weight"] = _panels(written, carry, gates, hidden)
        if name == "rnn_relu" or name == "rnn_tanh":
            fields["function"] = name.removeprefix("rnn_")
        if biased:
            first, second = (_in_gates(one, gates, hidden) for one in biases)
            if name == "gru":
                # The last gate of what is carried is weighed before it is added.
                fields["carry_bias"] = written.padded(second[-1])
                second[-1] = 0
            fields["bias"] = written.padded(first + second)
        op = name if name in ("lstm", "gru") else "recurrent"
        made = NativeStep(op, out.index, (source,), fields)
        made.carry = LayerState(layer, layers, states, sequences, units, hidden)
        written.add(made)
        # The next layer takes the rows that this one made, and makes its own of them there.
        source, jump = out.index, units


def _in_gates(numbers: Any, gates: int, hidden: int) -> Any:
    """Rows of a gate each, or blocks of rows, filled up with zeros."""
    each = numbers.reshape(gates, -1, *numbers.shape[1:])
    room = np.zeros((gates, hidden, *numbers.shape[1:]))
    room[:, : each.shape[1]] = each
    return room


def _panels(written: Written, weight: Any, gates: int, hidden: int) -> int:
    """Weights (gates units, channels) as panels of padded gates."""
    padded = _in_gates(weight, gates, hidden).reshape(gates * hidden, -1)
    return written.stored(panels_of(padded.T[None]))
