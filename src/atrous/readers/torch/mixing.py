"""ATen ops that rearrange, multiply, normalise or reduce."""

from __future__ import annotations

from math import prod
from typing import Any

from atrous.geometry import Window
from atrous.network import Tensor
from atrous.network.layout import has_axes
from atrous.network.ops import (
    Attention,
    Constant,
    Contract,
    Elementwise,
    Expand,
    Lookup,
    Mix,
    Permute,
    Reduce,
    Reorder,
    Repeat,
    Reshape,
    Resize,
    Scan,
    Slice,
    Windows,
)
from atrous.readers.call import NotUnderstood
from atrous.readers.einsum import sizes_of, terms_of
from atrous.readers.torch.bands import band_of
from atrous.readers.torch.call import TorchCall, translates
from atrous.readers.torch.values import Const, Value

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CAPITALS = "ZYXWVUTSRQPONMLKJIHGFEDCBA"
_MOST_MASKED = 1 << 24


@translates("view", "_unsafe_view", "view_as", "reshape", "reshape_as")
@translates("flatten", "unflatten", "ravel", "squeeze", "squeeze_", "unsqueeze", "unsqueeze_")
def _reshape(call: TorchCall) -> Value:
    """The same elements in the same order."""
    if call.shape == call.x.shape:
        return call.x
    return call.emit(Reshape(call.shape), call.x)


@translates("as_strided")
def _as_strided(call: TorchCall) -> Value:
    """The same elements in the same order, where the strides are those of contiguous memory."""
    strides = [prod(call.shape[i + 1 :]) for i in range(len(call.shape))]
    plain = all(
        size == 1 or given == stride
        for size, given, stride in zip(call.shape, call["stride"], strides, strict=True)
    )
    plain = plain and call.node.args[0].meta["val"].is_contiguous()
    if call["storage_offset"] or not plain or prod(call.shape) != prod(call.x.shape):
        raise NotUnderstood("views its memory in another order")
    return _reshape(call)


@translates("unfold")
def _unfold(call: TorchCall) -> Value:
    """Output `o` reads `o * step + j`, `j < size`, along `dimension`; `j` is a new last one."""
    x, size, step = call.x, call["size"], call["step"]
    dim = call["dimension"] % len(x.shape)
    count = (x.shape[dim] - size) // step + 1
    if size != step:
        return call.emit(Windows(dim, Window(size, step)), x)
    out = call.step(Slice(dim, 0, count * size), x) if count * size < x.shape[dim] else x
    shape = (*x.shape[:dim], count, size, *x.shape[dim + 1 :])
    out = call.step(Reshape(shape), out)
    order = [i for i in range(len(shape)) if i != dim + 1]
    return call.emit(Permute((*order, dim + 1)), out)


@translates("permute")
def _permute(call: TorchCall) -> Value:
    """Dimension `i` is `dims[i]` of the input."""
    rank = len(call.x.shape)
    return call.emit(Permute(tuple(d % rank for d in call["dims"])), call.x)


@translates("transpose", "swapaxes", "swapdims")
def _transpose(call: TorchCall) -> Value:
    """Two dimensions trade places."""
    rank = len(call.x.shape)
    _, a, b = list(call.arguments.values())[:3]
    order = list(range(rank))
    order[a % rank], order[b % rank] = order[b % rank], order[a % rank]
    return call.emit(Permute(tuple(order)), call.x)


@translates("numpy_T")
def _reversed(call: TorchCall) -> Value:
    """The dimensions in reverse."""
    return call.emit(Permute(tuple(reversed(range(len(call.x.shape))))), call.x)


@translates("t", "mT", "adjoint")
def _t(call: TorchCall) -> Value:
    """The last two dimensions trade places."""
    rank = len(call.x.shape)
    order = (*range(rank - 2), rank - 1, rank - 2) if rank > 1 else (0,)
    return call.emit(Permute(order), call.x)


@translates("movedim", "moveaxis")
def _movedim(call: TorchCall) -> Value:
    """Each source dimension lands at its target; the others keep their order."""
    rank = len(call.x.shape)
    _, source, target = list(call.arguments.values())[:3]
    sources = [s % rank for s in (source if isinstance(source, list) else [source])]
    targets = [t % rank for t in (target if isinstance(target, list) else [target])]
    rest = iter(i for i in range(rank) if i not in sources)
    by_target = dict(zip(targets, sources, strict=True))
    return call.emit(
        Permute(tuple(by_target[i] if i in by_target else next(rest) for i in range(rank))), call.x
    )


@translates("expand", "expand_as", "broadcast_to")
def _expand(call: TorchCall) -> Value:
    """Output `o` reads `o`, and the only index where a size of 1 is widened."""
    if call.shape == call.x.shape:
        return call.x
    return call.emit(Expand(call.shape), call.x)


@translates("repeat", "tile")
def _repeat(call: TorchCall) -> Value:
    """Output `o` reads `o` modulo the size along each dimension; new dimensions stand in front."""
    x = call.x
    times = list(call["repeats"] if call["repeats"] is not None else call["dims"])
    out = x
    extra = len(times) - len(x.shape)
    if extra > 0:
        out = call.step(Reshape((1,) * extra + x.shape), out)
    times = [1] * -extra + times if extra < 0 else times
    for dim, count in enumerate(times):
        if count == 1:
            continue
        if out.shape[dim] == 1 and not has_axes(out.layout[dim]):
            shape = tuple(count if i == dim else n for i, n in enumerate(out.shape))
            out = call.step(Expand(shape), out)
        else:
            out = call.step(Repeat(dim, count), out)
    return out


@translates("repeat_interleave")
def _repeat_interleave(call: TorchCall) -> Value:
    """Output `o` reads `o // repeats` along `dim`."""
    x, dim, times = call.x, call["dim"], call["repeats"]
    if not isinstance(times, int) or dim is None:
        raise NotUnderstood("repeats each place by its own number")
    dim %= len(x.shape)
    sizes = tuple(n * times if i == dim else n for i, n in enumerate(x.shape))
    if x.shape[dim] == 1:
        # A batch of one image, more often than a map of one position: no map is scaled.
        return call.emit(Expand(sizes), x)
    if dim < 2:
        # Channels more often than a map, which would be scaled.
        return call.emit(Repeat(dim, times, each=True), x)
    return call.emit(Resize(sizes[dim:], "nearest", "asymmetric"), x)


@translates("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(call: TorchCall) -> Value:
    """The channels in another order; positions stay."""
    return call.emit(Reorder(1, call.x.shape[1]), call.x)


@translates("linear")
def _linear(call: TorchCall) -> Value:
    """Each output reads all of the last dimension at one place of the others."""
    weight = call["weight"]
    if not isinstance(weight, Const):
        return _linear_by_input(call, weight)
    channels = weight.shape[0] if len(weight.shape) > 1 else 1
    op = call.linear(call.x, channels, weight, columns=False)
    return call.weighted(op, call.x, params=call.params("weight", "bias"))


def _linear_by_input(call: TorchCall, weight: Any) -> Value:
    """`x @ weight.T` where the weight, made by the model, may hold positions of its own."""
    x = call["input"]
    if not isinstance(weight, Tensor) or len(weight.shape) != 2 or call["bias"] is not None:
        raise NotUnderstood("a linear layer whose weight depends on the input")
    left = call.materialized(x)
    lead = _LETTERS[: len(left.shape) - 1]
    return call.emit(Contract(f"{lead}y,zy->{lead}z"), left, weight, params=call.params("input"))


@translates("matmul", "mm", "bmm", "mv", "dot")
def _matmul(call: TorchCall) -> Value:
    """Output `(i, j)` reads row `i` of the first operand and column `j` of the second."""
    left, right = list(call.arguments.values())[:2]
    return _matrix_product(call, left, right)


@translates("addmm", "baddbmm")
def _addmm(call: TorchCall) -> Value:
    """Output `(i, j)` reads a product's row and column, and the addend at `(i, j)`."""
    addend, left, right = list(call.arguments.values())[:3]
    if not isinstance(addend, Tensor):
        return _matrix_product(call, left, right)
    if not isinstance(left, Tensor) and not isinstance(right, Tensor):
        product = Constant(call.shape, call.macs() or 0, "constant product")
        return call.emit(Elementwise("add"), addend, call.step(product, params=call.params()))
    made = _matrix_product(call, left, right)
    return call.emit(Elementwise("add"), addend, made)


def _matrix_product(call: TorchCall, left: Any, right: Any) -> Value:
    """A row and a column for each output, batches aligned; a constant matrix is a linear layer.

    A batch dimension of 1 that the other operand widens is dropped first.
    """
    if isinstance(right, Const) and len(right.shape) == 2 and isinstance(left, Tensor):
        linear = call.linear(left, right.shape[1], right, columns=True)
        return call.emit(linear, left, params=call.params())
    operands = [call.materialized(value) for value in (left, right)]
    a, b = operands
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise NotUnderstood("multiplies by a vector")
    rank = max(len(a.shape), len(b.shape)) - 2
    names = []
    for index, operand in enumerate(operands):
        batch = len(operand.shape) - 2
        letters = [_LETTERS[rank - batch + i] for i in range(batch)]
        gone = [
            i
            for i in range(batch)
            if operand.shape[i] == 1 and _batch_size(operands[1 - index], batch - i) > 1
        ]
        kept = operand
        for i in reversed(gone):
            kept = call.step(Slice(i, 0, 1, drop=True), kept)
            del letters[i]
        operands[index] = kept
        names.append("".join(letters))
    together = "".join(dict.fromkeys(sorted(names[0] + names[1])))
    op = Contract(f"{names[0]}xy,{names[1]}yz->{together}xz")
    return call.emit(op, *operands, params=call.params())


def _batch_size(operand: Tensor, from_matrix: int) -> int:
    """The size of a batch dimension, counted back from the matrix; 1 where there is none."""
    index = len(operand.shape) - 2 - from_matrix
    return operand.shape[index] if index >= 0 else 1


@translates("einsum")
def _einsum(call: TorchCall) -> Value:
    """Letters of the result are aligned; along all others each output reads everything."""
    equation = call["equation"].replace(" ", "")
    operands = [call.materialized(value) for value in call["tensors"]]
    shapes = [operand.shape for operand in operands]
    terms, result = terms_of(equation, [len(shape) for shape in shapes], _CAPITALS)
    if any(len(set(term)) != len(term) for term in (*terms, result)):
        raise NotUnderstood(f"einsum {equation} takes a diagonal")
    if sizes_of(terms, shapes) is None:
        raise NotUnderstood(f"einsum {equation} broadcasts inside a product")
    # From the left, two at a time; what no later operand and no output needs is summed at once.
    while len(operands) > 1:
        later = set(result).union(*terms[2:])
        both = "".join(dict.fromkeys(terms[0] + terms[1]))
        made = result if len(operands) == 2 else "".join(x for x in both if x in later)
        op = Contract(f"{terms[0]},{terms[1]}->{made}")
        operands[:2] = [call.step(op, *operands[:2], params=call.params())]
        terms[:2] = [made]
    (out,), (term,) = operands, terms
    gone = tuple(i for i, letter in enumerate(term) if letter not in result)
    if gone:
        out = call.step(Reduce(gone, label="sum"), out)
        term = "".join(letter for letter in term if letter in result)
    if term != result:
        out = call.step(Permute(tuple(term.index(letter) for letter in result)), out)
    return out


@translates(
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
)
def _attention(call: TorchCall) -> Value:
    """Each query reads all keys and values, where `is_causal` those up to its own place."""
    operands = [call.materialized(call[name]) for name in ("query", "key", "value")]
    if isinstance(call["attn_mask"], Tensor):
        operands.append(call["attn_mask"])
    op = Attention(bool(call["is_causal"]), _window_of(call["attn_mask"]))
    made = call.emit(op, *operands, params=call.params("query", "key", "value"))
    return [made, *[None] * (len(call.outputs) - 1)] if call.several else made


def _window_of(mask: Any) -> tuple[int, int] | None:
    """How many positions before and behind its own each one sees, by a mask of known numbers."""
    square = isinstance(mask, Const) and len(mask.shape) > 1 and mask.shape[-1] == mask.shape[-2]
    if not square or prod(mask.shape) > _MOST_MASKED:
        return None
    found = mask.known()
    band = "" if found is None else band_of([found])
    return None if isinstance(band, str) else (-band.low, band.low + band.width - 1)


@translates("softmax", "log_softmax", "_softmax", "_log_softmax", "_safe_softmax", "softmin")
def _softmax(call: TorchCall) -> Value:
    """Each output reads all of `dim`."""
    return call.emit(Mix((call.dim,), "softmax"), call.x)


@translates("layer_norm", "rms_norm", "_fused_rms_norm")
def _layer_norm(call: TorchCall) -> Value:
    """Each output reads all of the normalized dimensions, which are the last."""
    rank, count = len(call.x.shape), len(call["normalized_shape"])
    label = "rms_norm" if "rms" in call.label else "layer_norm"
    op = Mix(tuple(range(rank - count, rank)), label)
    return call.weighted(op, call.x, params=call.params("weight", "bias"))


@translates("native_layer_norm")
def _native_layer_norm(call: TorchCall) -> Value:
    """Each output reads what that of `layer_norm` does; the statistics are lost."""
    return [_layer_norm(call), None, None]


@translates("group_norm")
def _group_norm(call: TorchCall) -> Value:
    """Each output reads its whole image: all groups count as one."""
    op = Mix(tuple(range(1, len(call.x.shape))), "group_norm")
    return call.weighted(op, call.x, params=call.params("weight", "bias"))


@translates("native_group_norm")
def _native_group_norm(call: TorchCall) -> Value:
    """Each output reads what that of `group_norm` does; the statistics are lost."""
    return [_group_norm(call), None, None]


@translates("instance_norm")
def _instance_norm(call: TorchCall) -> Value:
    """Each output reads all positions of its channel; by stored statistics, its own alone."""
    params = call.params("weight", "bias", "running_mean", "running_var")
    if not call["use_input_stats"]:
        return call.emit(Elementwise("instance_norm"), call.x, params=params)
    op = Mix(tuple(range(2, len(call.x.shape))), "instance_norm")
    return call.weighted(op, call.x, params=params)


@translates("cosine_similarity")
def _cosine_similarity(call: TorchCall) -> Value:
    """Each output reads all of `dim` in both operands, at one place of the others."""
    both = call.step(Elementwise("mul"), *call.tensors(), params=call.params())
    dim = (1 if call["dim"] is None else call["dim"]) % len(both.shape)
    return call.emit(Reduce((dim,), label="cosine_similarity"), both)


@translates("linalg_vector_norm", "norm", "frobenius_norm")
@translates("mean", "sum", "amax", "amin", "prod", "logsumexp", "nansum", "nanmean", "std", "var")
@translates("any", "all", "count_nonzero", "argmax", "argmin", "median")
def _reduce(call: TorchCall) -> Value:
    """Each output reads all of `dim`, or of every dimension where none is named."""
    rank = len(call.x.shape)
    given = call["dim"] if "dim" in call.arguments else call["axis"]
    given = [] if given is None else given if isinstance(given, list) else [given]
    dims = tuple(sorted(d % rank for d in given)) or tuple(range(rank))
    made = call.emit(Reduce(dims, bool(call["keepdim"]), call.label), call.x)
    return [made] * len(call.outputs) if call.several else made


@translates("max", "min", "var_mean", "std_mean", "aminmax", "mode", "kthvalue")
def _reduce_or_join(call: TorchCall) -> Value:
    """With `other`, output `o` reads both at `o`; else each reads all of `dim`."""
    if call["other"] is not None:
        return call.emit(Elementwise(f"{call.label}imum"), *call.tensors(), params=call.params())
    return _reduce(call)


@translates("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin")
def _cumulative(call: TorchCall) -> Value:
    """Output `o` reads `0` up to `o` along `dim`."""
    made = call.emit(Scan(call.dim, label=call.label), call.x)
    return [made, made] if call.several else made


@translates("glu")
def _glu(call: TorchCall) -> Value:
    """Output `o` reads `o` in both halves of `dim`."""
    x, dim = call.x, call.dim
    half = x.shape[dim] // 2
    parts = [call.step(Slice(dim, start, half), x) for start in (0, half)]
    return call.emit(Elementwise("glu"), *parts)


@translates("embedding")
def _embedding(call: TorchCall) -> Value:
    """Output `o` reads index `o`, for a row of the table in a new last dimension."""
    weight, indices = call["weight"], call["indices"]
    if not isinstance(indices, Tensor) or not isinstance(weight, Const):
        raise NotUnderstood("looks up in a table that depends on the input")
    return call.emit(Lookup(weight.shape[-1]), indices, params=call.params("weight"))


@translates("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(call: TorchCall) -> Value:
    """Output `o` reads all steps up to `o`, and all there are where bidirectional.

    A last state, of any layer and direction, has seen the whole sequence.
    """
    x = call["input"]
    if not isinstance(x, Tensor) or call["batch_first"] is None or len(x.shape) != 3:
        raise NotUnderstood("a recurrent layer over packed or unbatched sequences")
    params = [v for v in call["params"] if isinstance(v, Const)]
    time = 1 if call["batch_first"] else 0
    op = Scan(
        time,
        "both" if call["bidirectional"] else "forward",
        call.shape[-1],
        sum(prod(v.shape) for v in params if len(v.shape) == 2),
        call.label,
    )
    made: list[Value] = [call.weighted(op, x, params=call.params())]
    used = {user.args[1] for user in call.node.users if len(user.args) > 1}
    for index in range(1, len(call.outputs)):
        if index not in used:
            made.append(None)
            continue
        last = call.step(Reduce((time,), False, "last"), made[0])
        batch = prod(last.shape[:-1])
        shape = call.shape_of(index)
        held = call.step(Reorder(len(last.shape) - 1, prod(shape) // batch), last)
        made.append(call.step(Reshape(shape), held))
    return made
