"""Layers of one tap and linear maps by our product on rows, as it is and with seven for eight.

The algebra is exact and the sums are others where products are saved, so they round otherwise:
that is measured on the values of the layer (`rounding`), beside what PyTorch's own sums cost.
"""

from __future__ import annotations

from functools import partial
from math import prod

import torch

from atrous.operators.kernels import native
from atrous.operators.kernels.strassen import RowProduct, multiplies_rows_natively, products_spent
from atrous.operators.kernels.torch_strassen import prepare_rows
from atrous.optimization.layer.activations import by_kernels
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.ways import Runs, Way, register
from atrous.refusal import Refusal

__all__ = ["LEVELS", "row_product"]

LEVELS = {"row kernel": 0, "strassen 1": 1, "strassen 2": 2}
"""How often each strategy takes seven products for eight."""

_LEAST_PRODUCTS = 1_000_000
"""Layers of fewer products take as long as their call."""
_LEAST_ROWS = 96
"""Rows that meet each weight: with fewer, reading the weights is what takes time."""
_LEAST_WIDE = {0: 1, 1: 64, 2: 128}
"""Channels and filters at each level: with fewer, sums of halves cost what products are saved."""
_MOST_SPENT = {0: 2.0, 1: 0.92, 2: 0.84}
"""Shares of the products: where vectors are filled up for more, a level below is as good."""


def row_product(level: int, call: LayerCall) -> RowProduct | None:
    """The product that a call is; None where it is none on rows."""
    if call.op == "linear":
        rows, channels = prod(call.input[:-1]), call.input[-1]
    elif call.layout == "channels_last" and call.is_pointwise and call.stride in ((1,), (1, 1)):
        rows, channels = prod(call.input) // call.input[1], call.input[1]
    else:
        return None
    activation = call.activation.kernel if by_kernels(call.activation, call) else "none"
    return RowProduct(rows, channels, call.weight[0], level, activation)


def _by_rows(level: int, call: LayerCall) -> bool | Refusal:
    product = row_product(level, call)
    if product is None or call.dtype != "float32" or not product.fits:
        return False
    if product.rows * product.channels * product.filters < _LEAST_PRODUCTS:
        return False
    name = "strassen" if level else "row kernel"
    if not multiplies_rows_natively():
        return Refusal(name, "", f"{native().reason or 'these kernels are older'}.")
    if product.rows < _LEAST_ROWS:
        return Refusal(name, "", f"{product.rows} rows are too few for all the weights.")
    least = min(product.channels, product.filters)
    if least < _LEAST_WIDE[level]:
        return Refusal(
            name, "", f"sums of halves of {least} channels take what products they save."
        )
    return products_spent(product) <= _MOST_SPENT[level]


def _row_runs(level: int, weight: torch.Tensor, bias: torch.Tensor | None, call: LayerCall) -> Runs:
    product = row_product(level, call)
    if product is None:
        raise ValueError("row kernel: this layer is no product on rows.")
    if call.op == "linear":
        return prepare_rows(
            product, weight, bias, call.input, (*call.input[:-1], product.filters), axis=-1
        )
    return prepare_rows(product, weight, bias, call.input, call.convolution.shape, axis=1)


for _name, _level in LEVELS.items():
    register(
        Way(
            _name,
            partial(_by_rows, _level),
            partial(_row_runs, _level),
            by_kernels,
            adds=True,
            rounds=_level > 0,
            places=True,
        )
    )
