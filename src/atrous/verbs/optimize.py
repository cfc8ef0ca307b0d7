"""`optimize`: the same results, faster on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atrous.errors import ArgumentTypeError, MissingDependencyError
from atrous.readers.kind import kind_of
from atrous.readers.source import sized

if TYPE_CHECKING:
    from atrous.optimization.module import Optimized
    from atrous.optimization.records import Rounding

__all__ = ["optimize"]


def optimize(
    model: Any,
    example: Any,
    *,
    training: bool = False,
    engines: str | Sequence[str] | None = None,
    rounding: Rounding = None,
) -> Optimized:
    """A module that computes what `model` computes, faster on inputs like `example`.

    Every exact way to run each layer is measured on this machine, on the values that the layer
    meets when the model runs on `example`, a tensor or a tuple of tensors. Batch norms are folded,
    activations and sums fused, weights packed, and one layout is chosen for the whole. The outputs
    are compared with the model's; where nothing is both equal and faster, the model runs as it was.
    `.explain()` says what was chosen for each layer and what it gained.

    Other engines are tried beside, as a whole, where they are installed: `"torch.compile"` with
    frozen parameters, `"onnxruntime"` and `"openvino"`. They are compared with the model as ours
    is, and the fastest is handed out, ours where another is ahead by less than 2%; `.explain()`
    says which, and what each took. That takes seconds, `torch.compile` up to a minute.
    `engines="atrous"` keeps to ours, and so does `training=True`; a sequence of names tries those,
    and so does the environment variable `ATROUS_ENGINES` (`atrous,onnxruntime`) where `engines` is
    not given.

    Parameters and their names are the model's own: a state dict fits both, and weights loaded later
    are folded anew; of a model with lazy layers, which has none yet, a copy takes its sizes from
    `example`. Inputs of other shapes, training mode, inputs that require a gradient, autocast
    and tracers get the model's own code. In evaluation mode results carry no gradient.
    `training=True` keeps gradients: each direction of a convolution (the result, the gradient by
    the data and by the weights) runs by the fastest way, and maps in the faster layout.

    Dense layers may run with fewer products than their definition has: convolutions by minimal
    filtering (Winograd) on the phases of the dilation, layers of one tap and linear maps by seven
    products for eight (Strassen). That is exact algebra, and its sums round otherwise:
    by default by at most 8 times what PyTorch's float32 sums round off on the layer's values, as
    `.explain()` shows for each layer. `rounding="direct"` leaves such sums out, `"winograd"` takes
    the fastest of them that differ from PyTorch's result by at most 2e-5 of its largest value.

    Choices are kept in a cache folder (`ATROUS_CACHE`, else in `XDG_CACHE_HOME` or `~/.cache`) for
    this machine, number of threads and versions, so that the same layers are not measured again.

    Raises `ArgumentTypeError` for what is no module or no tensor, `ArgumentError` for what is not
    on the CPU, a model that cannot run on the example, one in training mode without
    `training=True`, or a name that no engine has; `MissingDependencyError` for an engine that is
    named and not installed.

    >>> import torch, atrous
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()
    >>> fast = atrous.optimize(model, torch.randn(1, 3, 16, 16), engines="atrous")
    >>> list(fast.state_dict()), [row.layer for row in fast.explain().layers if row.layer != "0"]
    (['0.weight', '0.bias'], [])
    """
    try:
        from atrous.optimization.arguments import checked_engines, checked_example, checked_rounding
        from atrous.optimization.optimize import optimize_model
    except ImportError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError(
            "optimize: running a module needs PyTorch; run `pip install torch`."
        ) from error
    if kind_of(model) == "keras":  # under Keras' torch backend a module as well
        raise ArgumentTypeError(
            "a Keras model runs through Keras, and only PyTorch modules are optimized; give its "
            "twin in PyTorch, or compile it in Keras (jit_compile=True)."
        )
    inputs = checked_example(model, example, training=training)
    names = checked_engines(engines, training=training)
    sums = checked_rounding(rounding)
    made = sized(model, list(inputs))
    return optimize_model(made, inputs, training=training, rounding=sums, engines=names)
