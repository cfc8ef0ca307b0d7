"""What ATen ops multiply and add, by their shapes alone: positions need not be followed for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch

from atrous.frameworks.torch import flops_of, is_composite

__all__ = ["products_of"]

Shape = tuple[int, ...]
Products = Callable[[Mapping[str, Shape], Shape], int]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _inner(name: str) -> Products:
    """Each output sums over the last dimension of this argument."""
    return lambda of, made: prod(made) * of[name][-1]


def _attended(of: Mapping[str, Shape], _: Shape) -> int:
    """Each query meets all keys, and each weight all channels of its value."""
    query, key, value = of["query"], of["key"], of["value"]
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


_PRODUCTS: dict[str, Products] = {
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot", "vdot"), _inner("self")),
    "linear": _inner("input"),
    "addmm": _inner("mat1"),
    "_addmm_activation": _inner("mat1"),
    "addmv": _inner("mat"),
    "baddbmm": _inner("batch1"),
    "addbmm": lambda of, made: prod(made) * of["batch1"][0] * of["batch1"][-1],
    "bilinear": lambda of, made: prod(made) * prod(of["weight"][1:]),
    "conv_tbc": lambda of, made: prod(made) * prod(of["weight"][:-1]),
    "cdist": _inner("x1"),
    "_cdist_forward": _inner("x1"),
    "pdist": _inner("self"),
    "scaled_dot_product_attention": _attended,
    "_scaled_dot_product_flash_attention_for_cpu": _attended,
}

_COUNTED = _words(
    "einsum lstm gru rnn_tanh rnn_relu conv1d conv2d conv3d conv_transpose1d conv_transpose2d "
    "conv_transpose3d convolution _convolution matrix_power linalg_matrix_power cov corrcoef "
    "linalg_multi_dot chain_matmul"
)
"""Ops whose products PyTorch's own counter knows."""

_FACTORED = _words(
    "cholesky cholesky_inverse cholesky_solve det geqrf inverse logdet lu_solve matrix_exp orgqr "
    "pinverse qr slogdet stft istft svd triangular_solve"
)
_FACTORED_PREFIXES = ("linalg_", "_linalg_", "fft_", "_fft_")
_PLAIN_LINALG = _words(
    "linalg_vector_norm linalg_norm linalg_matmul linalg_multi_dot linalg_matrix_power "
    "linalg_cross linalg_vecdot linalg_diagonal linalg_vander"
)
"""Factorizations, inverses and Fourier transforms have no count by shapes; these are none."""


def products_of(node: Any, arguments: Mapping[str, Any], made: Shape | None) -> int | None:
    """What a call multiplies and adds, for a node of an exported graph and the values it takes.

    0 for what has no products, None where neither shapes nor PyTorch tell.
    """
    if getattr(node.target, "namespace", "") != "aten":
        return None
    name = node.target.overloadpacket.__name__.rstrip("_")
    if name in _PRODUCTS and made is not None:
        shapes = {key: getattr(value, "shape", ()) for key, value in arguments.items()}
        try:
            return _PRODUCTS[name](shapes, made)
        except IndexError:
            return None
    if name not in _PLAIN_LINALG and (name in _FACTORED or name.startswith(_FACTORED_PREFIXES)):
        return None
    if name in _COUNTED or (_multiplies(node) and is_composite(node.target)):
        return _by_flop_counter(node)
    return 0


def _multiplies(node: Any) -> bool:
    """Whether an op may be a product: it takes several tensors and makes one that is no view."""
    views = any(made.alias_info is not None for made in node.target._schema.returns)
    taken = [
        part for one in node.args for part in (one if isinstance(one, list | tuple) else [one])
    ]
    tensors = [part for part in taken if isinstance(part, torch.fx.Node)]
    return not views and len(tensors) > 1


def _by_flop_counter(node: Any) -> int | None:
    """What PyTorch's own counter says of the call."""

    def value(argument: Any) -> Any:
        return argument.meta.get("val")

    args = torch.fx.node.map_arg(tuple(node.args), value)
    kwargs: Any = torch.fx.node.map_arg(dict(node.kwargs), value)
    flops = flops_of(node.target, args, kwargs)
    return None if flops is None else flops // 2
