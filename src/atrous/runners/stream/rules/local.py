"""Calls that work at one position of time: each output reads what stands at its own place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from atrous.readers.torch.call import ELEMENTWISE
from atrous.runners.stream.rules.base import Local, Rule, Timed, plain_form, rule
from atrous.runners.stream.rules.calling import called, nodes_in
from atrous.runners.stream.rules.running import running_norm, running_sum

__all__ = ["local_rule"]

_HANDED_ON = frozenset(
    [
        "alias",
        "clone",
        "contiguous",
        "detach",
        "dropout",
        "alpha_dropout",
        "feature_dropout",
        "feature_alpha_dropout",
        "lift_fresh",
        "positive",
        "resolve_conj",
        "resolve_neg",
    ]
)
_TURNED = frozenset(
    [
        "permute",
        "transpose",
        "t",
        "movedim",
        "swapaxes",
        "swapdims",
        "numpy_T",
        "mT",
        "mH",
        "adjoint",
        "view_as_real",
        "view_as_complex",
        "real",
        "imag",
        "to",
        "_to_copy",
        "type_as",
        "embedding",
        "one_hot",
        "zeros_like",
        "ones_like",
        "full_like",
        "cosine_similarity",
        "pairwise_distance",
        "expand_as",
        "diag_embed",
        "select",
    ]
)
_REDUCED = frozenset(
    [
        "mean",
        "sum",
        "amax",
        "amin",
        "max",
        "min",
        "std",
        "var",
        "var_mean",
        "std_mean",
        "norm",
        "linalg_vector_norm",
        "logsumexp",
        "prod",
        "any",
        "all",
        "argmax",
        "argmin",
        "median",
    ]
)
"""What takes a dimension away: where time is left, it was another one."""
_ALONG = frozenset(
    [
        "softmax",
        "log_softmax",
        "_softmax",
        "_log_softmax",
        "glu",
        "cumsum",
        "cumprod",
        "cummax",
        "cummin",
        "logcumsumexp",
        "sort",
        "argsort",
        "topk",
        "flip",
        "roll",
        "index_select",
        "gather",
        "chunk",
        "split",
        "split_with_sizes",
        "tensor_split",
        "unbind",
        "unsafe_chunk",
        "unsafe_split",
        "diff",
        "fft_fft",
        "fft_ifft",
        "fft_rfft",
        "fft_irfft",
        "fft_hfft",
        "fft_ihfft",
        "fft_fftshift",
        "fft_ifftshift",
        "cross",
        "renorm",
        "take_along_dim",
    ]
)
_ALL_BY_DEFAULT = frozenset(
    ["fft_fftshift", "fft_ifftshift", "roll", "flip", "take_along_dim", "cross"]
)
"""What takes all dimensions, or one that its sizes tell, where none is named."""
_PRODUCTS = frozenset(["matmul", "mm", "bmm", "addmm", "baddbmm", "outer"])
_POINTWISE = frozenset(
    ["prelu", "_prelu_kernel", "lerp", "addcmul", "addcdiv", "where", "masked_fill"]
)


def local_rule(call: Timed) -> Rule:
    """The rule of a call that must be local: raises where it looks along time, or is unknown."""
    name, out = call.name, call.value
    if name == "getitem":
        return Local([call.operand().index], _item(call.node.args[1]))
    if name in _HANDED_ON:
        if call["train"] and call["p"]:
            raise call.refusal(f"its {name} is on in evaluation mode too, so it draws numbers")
        return Local([call.operand().index], lambda x: x)
    inputs, function = called(call)
    if name in _TURNED or name in _REDUCED:
        call.same()
        if name == "select" and call.operand().dim == _dims(call, "dim")[0]:
            raise call.refusal("it takes one position of time, which is no stream")
        return Local(inputs, function)
    if name in _ALONG:
        call.same()
        if out.dim in _dims(call, "dim", "dims") and not out.several:
            return _carried_along(call)
        if out.several and call.operand().dim in _dims(call, "dim"):
            raise call.refusal(
                f"{name} cuts the whole of time into pieces, so it waits for the end"
            )
        return Local(inputs, function)
    if name in _PRODUCTS:
        call.same()
        _check_product(call)
        return Local(inputs, function)
    if name in _POINTWISE or _is_local(call.node.target):
        call.same()
        _check_broadcast(call)
        return Local(inputs, function)
    raise call.refusal(
        f"{name} has no rule along time; ask for one, or take it out of the streamed part"
    )


def _item(index: Any) -> Callable[[Any], Any]:
    return lambda several: several[index]


def _is_local(target: Any) -> bool:
    if torch.Tag.pointwise in getattr(target, "tags", ()):
        return True
    plain = plain_form(target)
    packet = getattr(plain, "overloadpacket", None)
    name = f"aten.{getattr(packet, '__name__', '')}"
    return torch.Tag.pointwise in getattr(plain, "tags", ()) or name in ELEMENTWISE


def _dims(call: Timed, *keys: str) -> list[int]:
    """The dimensions that an argument names, from the front."""
    rank = len(call.operand().shape)
    for key in keys:
        named = call.arguments.get(key)
        # No dimension named is all of them.
        if named is not None and named != []:
            several = named if isinstance(named, list | tuple) else [named]
            found = [int(dim) % rank for dim in several]
            return [d for d in range(rank) if d not in found] if call.name == "renorm" else found
    return list(range(rank)) if call.name in _ALL_BY_DEFAULT else [0]


def _carried_along(call: Timed) -> Rule:
    """Sums so far go on; what else looks along time does not."""
    if call.name == "cumsum":
        return running_sum(call)
    whole = "attention over all of time" if "softmax" in call.name else "all of time"
    raise call.refusal(
        f"{call.name} along time takes {whole} at once, so it is known only at the end"
    )


def _check_broadcast(call: Timed) -> None:
    """Time stands at one place, counted from behind, in all operands that have it."""
    out = call.value
    behind = len(out.shape) - out.dim
    for node in nodes_in(list(call.arguments.values())):
        value = call.known.value(node)
        if value is not None:
            if len(value.shape) - value.dim != behind:
                raise call.refusal(
                    f"its {call.name} joins what has time in different dimensions, so every "
                    "position meets every other"
                )
        else:
            meta = node.meta.get("val")
            shape = tuple(meta.shape) if isinstance(meta, torch.Tensor) else ()
            if call.name in ("prelu", "_prelu_kernel") and len(shape) == 1:
                if shape[0] > 1 and out.dim == 1:
                    raise call.refusal("its slopes lie along time")
            elif len(shape) >= behind and shape[-behind] != 1:
                raise call.refusal(f"its {call.name} has constants along time of a fixed number")


def _check_product(call: Timed) -> None:
    """A product may have time in its rows or columns, or, in both operands, in the batch."""
    found = [call.known.value(node) for node in nodes_in(list(call.arguments.values()))]
    timed = [value for value in found if value is not None]
    if len(timed) < 2:
        return
    behind = len(call.value.shape) - call.value.dim
    if any(len(value.shape) - value.dim != behind for value in timed) or (
        behind <= 2 and sum(len(v.shape) - v.dim <= 2 for v in timed) > 1 and call.name != "addmm"
    ):
        raise call.refusal(
            "its product joins what has time in rows and columns (attention over all of time), so "
            "it is known only at the end"
        )


@rule("linear")
def _linear(call: Timed) -> Rule:
    x = call.operand("input")
    if x.dim == len(x.shape) - 1:
        raise call.refusal("its linear layer takes all positions of time at once")
    call.constant("weight")
    return Local(*called(call))


@rule("batch_norm _native_batch_norm_legit_no_training _batch_norm_no_update native_batch_norm")
def _batch_norm(call: Timed) -> Rule:
    x = call.operand("input")
    if call["training"] or call["running_mean"] is None:
        raise call.refusal(
            "it takes statistics of all of time; a batch norm in evaluation mode has its own"
        )
    if x.dim == 1:
        raise call.refusal("its channels are time")
    return Local(*called(call))


@rule("group_norm native_group_norm instance_norm")
def _group_norm(call: Timed) -> Rule:
    x = call.operand("input")
    if x.dim == 0 or (call.name == "instance_norm" and call["use_input_stats"] is False):
        return Local(*called(call))
    return running_norm(call)


@rule("layer_norm native_layer_norm rms_norm")
def _layer_norm(call: Timed) -> Rule:
    x = call.operand("input")
    shape = call["normalized_shape"]
    if x.dim < len(x.shape) - len(shape):
        return Local(*called(call))
    return running_norm(call)


@rule("einsum")
def _einsum(call: Timed) -> Rule:
    left, _, right = str(call["equation"]).replace(" ", "").partition("->")
    letters = set()
    for part, node in zip(left.split(","), nodes_in(call["tensors"]), strict=True):
        value = call.known.value(node)
        if value is not None:
            if "." in part:
                raise call.refusal("its einsum has dots for dimensions; name them all")
            letters.add(part[value.dim])
    if "." in right or len(letters) != 1 or right.index("".join(letters)) != call.value.dim:
        raise call.refusal("its einsum relates positions of time to one another")
    return Local(*called(call))


@rule("expand")
def _expand(call: Timed) -> Rule:
    size = list(call["size"])
    size[call.value.dim] = -1
    call.same("size")
    return Local(*called(call, change={"size": size}))


@rule("repeat tile")
def _repeat(call: Timed) -> Rule:
    key = "repeats" if call.name == "repeat" else "dims"
    repeats = [1] * (len(call.value.shape) - len(call[key])) + list(call[key])
    if repeats[call.value.dim] != 1:
        raise call.refusal("it repeats the whole of time, so it waits for the end")
    call.same()
    return Local(*called(call))
