"""The public verbs: a source in, a record out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from atrous.analysis import Comparison, Inspection, compare_networks, inspect_network, usual_stacks
from atrous.errors import AtrousError, MissingDependencyError, ReadError
from atrous.readers import read

if TYPE_CHECKING:
    from atrous.convert.certificate import Certificate
    from atrous.convert.records import Heads
    from atrous.geometry import Tail
    from atrous.runtime.converted import Conversion
    from atrous.runtime.optimize.module import Optimized

__all__ = ["audit", "compare", "convert", "inspect", "optimize", "read"]


def inspect(source: Any, input: Any = None, *, output: str | None = None) -> Inspection:
    """What each layer of `source` sees and costs.

    `source` is a `torch.nn.Module`, a `torch.export.ExportedProgram`, a path to an `.onnx` file,
    an `onnx.ModelProto`, `"zoo:NAME"`, `"stack:..."`, `"timm:NAME"`, `"torchvision:NAME"`,
    `"smp:NAME"` or a `Network`. `input` is the input shape
    with batch and channels, several shapes, or example tensors; an ONNX file with static shapes
    and a known network need none. `output` names the layer to report on as the output.

    >>> import atrous
    >>> report = atrous.inspect("stack:k3s2x64 k3s2x128 k3d2x128 k3d4x128", (1, 3, 512, 512))
    >>> report.outputs[0].field[0].size, report.outputs[0].output_stride
    (55, (Fraction(4, 1), Fraction(4, 1)))
    """
    return inspect_network(read(source, input), output=output)


def compare(
    schemes: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    input: Any,
    kernel: int = 3,
    depth: int = 4,
    channels: int = 64,
) -> Comparison:
    """Stride, dilation, both, or pooling: what each scheme sees of one input, and what it costs.

    `schemes` are stacks such as `"k3s2x64 k3d2"`, networks, or anything else that `read` takes; a
    mapping names them. Left out, they are the usual ones of `depth` convolutions of one `kernel`
    and that many `channels`: plain, strided, dilated at a constant and at doubling rates, strided
    and then dilated, and pooled. `input` is the shape with batch, channels and 1 to 3 sizes.

    >>> import atrous
    >>> stacks = {"doubling": "k3d1 k3d2 k3d4", "holes": "k3d2 k3d4 k3d8"}
    >>> table = atrous.compare(stacks, input=(1, 8, 99))
    >>> [(scheme.field[0].size, scheme.coverage) for scheme in table]
    [(15, 1.0), (29, 0.5172413793103449)]
    """
    title = ""
    if schemes is None:
        layers = "1 layer" if depth == 1 else f"{depth} layers"
        title = f"{layers} of kernel {kernel} and {channels} channels"
        schemes = usual_stacks(kernel, depth, channels)
    named = _named(schemes)
    if not named:
        raise ReadError('there is nothing to compare; give stacks such as "k3s2x64 k3d2".')
    networks = {}
    for name, source in named.items():
        try:
            is_stack = isinstance(source, str) and ":" not in source and "." not in source
            networks[name] = read(f"stack:{source}" if is_stack else source, input)
        except AtrousError as error:
            if len(named) > 1:
                error.subject = f"{name}, {error.subject}" if error.subject else name
            raise
    sources = {name: source for name, source in named.items() if isinstance(source, str)}
    return compare_networks(networks, sources, title=title)


def convert(
    source: Any,
    output_stride: int | Sequence[int],
    *,
    input: Any = None,
    outputs: str | Sequence[str] | None = None,
    heads: Heads = "scale",
    tail: Tail = "crop",
    resample: bool = False,
    measure: bool = True,
) -> Conversion:
    """`source` with no map coarser than `output_stride`, and with the values that it had.

    A smaller output stride than now trades strides for dilation: the map behind has more positions,
    and every so-manieth of them is what it was. A larger one trades dilation for strides, wherever
    that is exact at the positions that are left. `output_stride` is one number, or one an axis.
    `source` and `input` are as for `inspect`; of a module, a copy is converted.

    `outputs` names the outputs or layers whose maps are wanted (the network's outputs, if left
    out); what only others need is not converted. `heads="scale"` lets the rates of a dilated head
    behind a changed map follow it, so that their reach in input pixels stays; `"keep"` leaves them.
    `tail` says what happens where the original drops the last positions of a map: `"crop"` keeps
    borders exact, `"keep"` keeps the map's size. `resample=True` resamples a map whose join with
    another no longer fits, as in a decoder with skips, linearly to the size of the smaller one;
    what lies behind such a join is approximate. `measure=False` leaves out the runs in float64.

    Raises `ConversionError` where the result would not compute the same, naming the layer and the
    reason.

    >>> import atrous
    >>> dense = atrous.convert("stack:k3s2 k3s2 k3", 2, input=(1, 64, 65, 65))
    >>> for edit in dense.edits:
    ...     print(edit)
    conv2: stride (2, 2) -> (1, 1)
    conv3: dilation (1, 1) -> (2, 2)
    conv3: padding (1, 1) -> (2, 2)
    >>> dense.certificate.verdict, dense.certificate.outputs[0].factor
    ('exact', (Fraction(2, 1), Fraction(2, 1)))
    """
    # What runs models needs numpy; reports do without.
    from atrous.runtime.conversion import convert_source

    return convert_source(
        source,
        output_stride,
        input=input,
        outputs=outputs,
        heads=heads,
        tail=tail,
        resample=resample,
        measure=measure,
    )


def audit(
    reference: Any, candidate: Any, *, input: Any = None, outputs: str | Sequence[str] | None = None
) -> Certificate:
    """What `candidate`, converted from `reference` by somebody, has in common with it.

    Both are sources as for `inspect`, of one kind and with the same parameters by name; `input` is
    the shape at which they are compared (and at sizes beside it). For each output, or layer that
    `outputs` names: how many positions the candidate has for each one of the reference, at which
    phase they hold the same, the margin and the error, and the verdict; `causes` names first the
    layer that is at fault, and what it should be.

    Raises `ReadError` where the two do not have the same parameters or outputs.

    >>> import atrous
    >>> found = atrous.audit("stack:k3s2 k3 k3", "stack:k3 k3d2 k3", input=(1, 64, 64, 64))
    >>> found.verdict, found.causes[0].layer, found.causes[0].why.partition(";")[0]
    ('broken', 'conv3', 'rate 1, padding 1')
    """
    from atrous.runtime.audit import audit_sources

    return audit_sources(reference, candidate, input=input, outputs=outputs)


def optimize(model: Any, example: Any, *, training: bool = False) -> Optimized:
    """A module that computes what `model` computes, faster on inputs like `example`.

    Every exact way to run each layer is measured on this machine, on the values that the layer
    meets when the model runs on `example`, a tensor or a tuple of tensors. Batch norms are folded,
    activations and sums fused, weights packed, and one layout is chosen for the whole. The outputs
    are compared with the model's; where nothing is both equal and faster, the model runs as it was.
    `.explain()` says what was chosen for each layer and what it gained.

    Parameters and their names are the model's own: a state dict fits both, and weights loaded later
    are folded anew. Inputs of other shapes, training mode, inputs that require a gradient, autocast
    and tracers get the model's own code. In evaluation mode results carry no gradient.
    `training=True` keeps gradients: only layers that can be differentiated are exchanged.

    Choices are kept in a cache folder (`ATROUS_CACHE`, else in `XDG_CACHE_HOME` or `~/.cache`) for
    this machine, number of threads and versions, so that the same layers are not measured again.

    Raises `ArgumentTypeError` for what is no module or no tensor, `ArgumentError` for what is not
    on the CPU, a model that cannot run on the example, or one in training mode without
    `training=True`.

    >>> import torch, atrous
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()
    >>> fast = atrous.optimize(model, torch.randn(1, 3, 16, 16))
    >>> list(fast.state_dict()), [row.layer for row in fast.explain().layers if row.layer != "0"]
    (['0.weight', '0.bias'], [])
    """
    try:
        from atrous.runtime.optimize.driver import optimize_model
    except ImportError as error:
        if error.name != "torch":
            raise
        raise MissingDependencyError(
            "optimize: running a module needs PyTorch; run `pip install torch`."
        ) from error
    return optimize_model(model, example, training=training)


def _named(schemes: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(schemes, Mapping):
        return dict(schemes)
    if isinstance(schemes, str):
        schemes = [schemes]
    named: dict[str, Any] = {}
    for place, source in enumerate(schemes, 1):
        name = source if isinstance(source, str) else getattr(source, "name", "")
        if not isinstance(name, str) or not name or name in named:
            name = f"{name if isinstance(name, str) and name else type(source).__name__} ({place})"
        named[name] = source
    return named
