"""`convert`: read, plan, rewrite, read again, certify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from atrous.certification.conversion import Conversion
from atrous.certification.converted import certified
from atrous.certification.network_pair import NetworkPair
from atrous.conversion.edits import plan_edits
from atrous.conversion.plan import Heads
from atrous.conversion.request import ConversionRequest, plan_for
from atrous.errors import ReadError, UnsupportedError
from atrous.geometry import Tail
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.progress import step
from atrous.readers import read
from atrous.readers.given import examples_of, output_names, shapes_of
from atrous.readers.kind import kind_of
from atrous.readers.source import made_of, sized
from atrous.refusal import Refusal

__all__ = ["convert"]


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
    `source` and `input` are as for `inspect`; of a module or a Keras model, a copy is converted,
    whose lazy layers take their sizes from `input`, and have first weights that are drawn.

    `outputs` names the outputs or layers whose maps are wanted (the network's outputs, if left
    out); what only others need is not converted, and left out of a Keras model. `heads="scale"`
    lets the rates of a dilated head behind a changed map follow it, so that their reach in input
    pixels stays; `"keep"` leaves them.
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
    if heads not in ("scale", "keep"):
        raise ReadError(f"heads is {heads!r}: use 'scale' or 'keep'.")
    if tail not in ("crop", "keep"):
        raise ReadError(f"tail is {tail!r}: use 'crop' or 'keep'.")
    asked = ConversionRequest(output_stride, output_names(outputs), heads, tail, measure, resample)
    kind = kind_of(source)
    if kind == "library":
        from atrous.readers.named import make, parse

        made = make(parse(source))
        return _torch(made.model, made.input if input is None else input, asked)
    if kind in ("network", "zoo", "stack"):
        return _network(read(source, input, structure_only=True), asked)
    if kind == "file":
        return _onnx(Path(source), input, asked)
    if kind == "message":
        return _onnx(source, input, asked)
    if kind == "module":
        return _torch(sized(source, input), input, asked)
    if kind == "program":
        raise UnsupportedError(
            f"a {type(source).__name__} cannot be converted; convert the module that it was "
            "exported from, and export that."
        )
    if kind == "keras":
        return _keras(made_of(source)[0], input, asked)
    if kind == "jax":
        return _by_hand(read(source, input, structure_only=True), asked)
    read(source, input)  # says what a source is
    raise UnsupportedError(f"a {type(source).__name__} cannot be converted.")


def _torch(model: Any, input: Any, asked: ConversionRequest) -> Conversion:
    from atrous.certification.torch_pair import TorchPair
    from atrous.readers.torch.reader import read_torch
    from atrous.writers.torch.model import rewrite_torch

    step("reading the model")
    read_whole = read_torch(model, input)
    whole = folded(read_whole, around=True)
    step("planning the conversion")
    plan = plan_for(whole, asked)
    step("rewriting the model")
    done = rewrite_torch(model, plan)
    if isinstance(done, Refusal):
        raise done.error()
    made, edits = done
    shapes = shapes_of(input)
    notes: tuple[str, ...] = ()
    step("reading the result")
    try:
        read_after = read_torch(made, input)
    except ReadError as error:
        if asked.names is None or not _runs_up_to(made, asked.names, input):
            raise _unfit(error).error() from error
        read_after = plan.candidate
        text = (
            "what lies behind the converted part does not take its larger maps, so the whole model "
            "no longer runs; take the part (the structure is that of the plan)"
        )
        notes = (text,)
    pair = TorchPair(model, made, asked.names, like=examples_of(input))
    pair.known(shapes, (read_whole, read_after))
    after = folded(read_after)
    return certified(
        made, replace(plan, notes=(*plan.notes, *notes)), edits, pair, shapes, asked, after
    )


def _keras(model: Any, input: Any, asked: ConversionRequest) -> Conversion:
    from atrous.certification.keras_pair import KerasPair
    from atrous.writers.keras.model import graph_up_to, rewrite_keras

    step("reading the model")
    source = graph_up_to(model, asked.names)
    network = read(source, input, structure_only=True)
    whole = replace(asked, names=None)
    step("planning the conversion")
    plan = plan_for(network, whole)
    step("rewriting the model")
    shapes = tuple(tensor.shape for tensor in network.inputs)
    done = rewrite_keras(source, network, plan, shapes)
    if isinstance(done, Refusal):
        raise done.error()
    made, notes = done
    step("reading the result")
    pair = KerasPair(source, made)
    after = pair.networks(shapes)[1]
    plan = replace(plan, notes=(*plan.notes, *notes))
    return certified(made, plan, plan_edits(plan), pair, shapes, whole, after)


def _unfit(error: ReadError) -> Refusal:
    return Refusal(
        "code",
        "",
        "the model's own code does not take maps of the new size; convert the part before the "
        f"layer that fails (outputs=...): {error}",
    )


def _runs_up_to(model: Any, names: Sequence[str], input: Any) -> bool:
    from atrous.runners.torch import Runner, random_inputs

    try:
        Runner(model, names).run(random_inputs(shapes_of(input), like=examples_of(input)))
    except Exception:
        return False
    return True


def _network(network: Network, asked: ConversionRequest) -> Conversion:
    plan = plan_for(network, asked)
    pair = NetworkPair(plan.reference, plan.candidate)
    edits = plan_edits(plan)
    shapes = tuple(t.shape for t in network.inputs)
    return certified(plan.candidate, plan, edits, pair, shapes, asked, plan.candidate)


def _by_hand(network: Network, asked: ConversionRequest) -> NoReturn:
    """Refuses code that is not rewritten, with the edits that convert it; or as their plan does."""
    edits = _network(network, replace(asked, measure=False)).edits
    raise UnsupportedError(
        f"the code of {network.name} is not rewritten, since JAX has it as a function; these "
        "settings of its layers (strides, kernel_dilation, padding) make it exactly that: "
        f"{'; '.join(map(str, edits)) or 'none, it is so already'}."
    )


def _onnx(source: Any, input: Any, asked: ConversionRequest) -> Conversion:
    from atrous.certification.onnx_pair import OnnxPair
    from atrous.writers.onnx.model import rewritten

    step("reading the model")
    network = read(source, input, structure_only=True)
    step("planning the conversion")
    plan = plan_for(network, asked)
    if plan.resampled:
        raise Refusal(
            "resample",
            plan.resampled[0].join,
            "its inputs no longer fit, and resampling at joins is not written into ONNX files; "
            "convert the PyTorch model and export that, or convert the part before the join "
            "(outputs=...).",
        ).error()
    step("rewriting the model")
    made = rewritten(source, plan)
    if isinstance(made, Refusal):
        raise made.error()
    shapes = tuple(tensor.shape for tensor in network.inputs)
    folder = source.resolve().parent if isinstance(source, Path) else None
    pair = OnnxPair(source, made.model, asked.names, folder=folder)
    after = pair.networks(shapes)[1]
    plan = replace(plan, notes=(*plan.notes, *made.notes))
    return certified(made.model, plan, plan_edits(plan), pair, shapes, asked, after)
