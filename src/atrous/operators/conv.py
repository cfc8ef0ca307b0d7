"""The convolution of the library: any stride, dilation and padding, on NumPy arrays and tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from atrous.errors import concerning
from atrous.operators.arguments import (
    Padding,
    PerAxis,
    Sums,
    checked_sums,
    convolution,
    is_tensor,
    known_convolution,
    library_of,
)

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["conv", "conv_transpose"]

Array = TypeVar("Array", "np.ndarray[Any, Any]", "torch.Tensor")


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: Padding = 0,
    groups: int = 1,
    rounding: Sums = "direct",
) -> Array:
    """`y[o] = bias + sum over j of weight[j] * x[o * stride - pad_lo + dilation * j]`.

    Outside of `x` lie zeros. `x` is `(batch, in_channels, *sizes)` with 1 to 3 sizes, `weight`
    `(out_channels, in_channels / groups, *kernel)` and `bias` `(out_channels,)`: NumPy arrays, or
    torch tensors of one device, through which gradients flow. They hold float16, bfloat16, float32
    or float64; the 16-bit ones are summed in float32. The result has the layout of `x`, contiguous
    or channels-last; other views are copied. A batch of 0 makes a batch of 0, and where a size is 0
    every tap reads padding, so that the result is the bias.

    `stride` and `dilation` are numbers, or one for each axis. `padding` is a number, one for each
    axis or a pair `(lo, hi)` for each axis (negative padding crops), or the name of a rule:

    - `"valid"`: none;
    - `"same"`: `extent - 1` in all, the odd position on the high side, whatever the stride, as in
      stacks and PyTorch's own numbers; that makes `ceil(size / stride)` outputs;
    - `"same_upper"`: SAME of TensorFlow and Keras, which makes as many and pads by no more than
      they need: at stride 2 an even size is padded behind alone. `"same_lower"` of ONNX puts the
      odd position in front;
    - `"causal"`: `(extent - stride, stride - 1)`, so that output `o` reads up to the end of block
      `o` of `stride` inputs and nothing later; at stride 1 all of it, `extent - 1`, goes in front.
      There is an output for each block, also for a last one that is incomplete.

    `rounding="winograd"` takes fewer products for the same result, which rounds otherwise (by 0.5
    to 3 times as much on random values; `optimize` measures that on a layer's own): in float32 on
    the CPU, along one or two axes in one group, where the native kernels are and tiles save
    products. All else is summed directly.

    Raises `GeometryError`, `ArgumentError` or `ArgumentTypeError`, naming the argument, what was
    got, the rule and the fix; before any memory is taken.

    >>> import numpy as np, atrous
    >>> x = np.arange(1.0, 7.0).reshape(1, 1, 6)
    >>> atrous.conv(x, np.array([[[1.0, 10.0]]]), dilation=2, padding="causal").tolist()
    [[[10.0, 20.0, 31.0, 42.0, 53.0, 64.0]]]
    >>> atrous.conv(x, np.ones((1, 1, 3)), stride=2, padding="same").tolist()
    [[[3.0, 9.0, 15.0]]]
    >>> atrous.conv(x, np.ones((1, 1, 3)), stride=2, padding="same_upper").tolist()
    [[[6.0, 12.0, 11.0]]]
    """
    with concerning("conv"):
        x, weight, bias = _cast(x, weight, bias)
        of_torch = library_of(x, weight, bias) == "torch"
        call = known_convolution(
            x.shape,
            weight.shape,
            None if bias is None else bias.shape,
            stride,
            dilation,
            padding,
            groups,
            x.dtype.itemsize,
        )
        rounding = checked_sums(rounding)
    if of_torch:
        from atrous.operators import with_torch

        return with_torch.conv(x, weight, bias, call, rounding)  # type: ignore[no-any-return]
    from atrous.operators import with_numpy

    return with_numpy.conv(x, weight, bias, call, rounding)


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    groups: int = 1,
) -> Array:
    """Input `i` adds `weight[j] * x[i]` to output `i * stride - pad_lo + dilation * j`.

    The data gradient of `conv`, with `weight` as `(in_channels, out_channels / groups, *kernel)`.
    Padding is what is cut off the result, `(size - 1) * stride - pad_lo - pad_hi + extent +
    output_padding` positions along each axis. Of the rules that have names `"valid"` cuts nothing;
    the others leave `size * stride` positions, as TensorFlow, Keras and stacks do: what is too much
    is cut on both sides, the odd one behind (`"same_lower"`: in front), under `"causal"` all of it
    behind. `output_padding` is below the stride or the dilation. All else is as for `conv`.

    >>> import numpy as np, atrous
    >>> x, weight = np.array([[[1.0, 2.0]]]), np.array([[[1.0, 10.0, 100.0]]])
    >>> atrous.conv_transpose(x, weight, stride=2, padding=[(1, 0)]).tolist()
    [[[10.0, 102.0, 20.0, 200.0]]]
    >>> atrous.conv_transpose(x, weight, stride=2, padding="same").tolist()
    [[[1.0, 10.0, 102.0, 20.0]]]
    """
    with concerning("conv_transpose"):
        x, weight, bias = _cast(x, weight, bias)
        of_torch = library_of(x, weight, bias) == "torch"
        call = convolution(
            x.shape,
            weight.shape,
            None if bias is None else bias.shape,
            stride=stride,
            dilation=dilation,
            padding=padding,
            groups=groups,
            transposed=True,
            output_padding=output_padding,
            bytes_each=x.dtype.itemsize,
        )
    if of_torch:
        from atrous.operators import with_torch

        return with_torch.conv_transpose(x, weight, bias, call)  # type: ignore[no-any-return]
    from atrous.operators import with_numpy

    return with_numpy.conv_transpose(x, weight, bias, call)


def _cast(x: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any]:
    """The arguments as autocast wants them: its element for all, unless one holds float64."""
    if not is_tensor(x):
        return x, weight, bias
    from atrous.operators import with_torch

    return with_torch.cast(x, weight, bias)
