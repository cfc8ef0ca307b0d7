"""`degrid`: other rates, or a layer more, so that no output's field has holes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atrous.certification.degridded import Degridded, degrid_edits, degridded
from atrous.conversion.degridding import Degridding, DegridMethod, plan_degridding
from atrous.conversion.inserted import Fits
from atrous.errors import ReadError, UnsupportedError
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.progress import step
from atrous.readers import read
from atrous.readers.given import output_names
from atrous.readers.kind import kind_of
from atrous.readers.source import made_of, sized
from atrous.refusal import Refusal

__all__ = ["degrid"]

_METHODS = ("rates", "front", "tail")
_LARGEST = 4096


def degrid(
    source: Any,
    input: Any = None,
    *,
    outputs: str | Sequence[str] | None = None,
    method: DegridMethod = "rates",
    strict: bool = False,
    largest: int | None = None,
    at: str | None = None,
) -> Degridded:
    """`source` with the fewest changes of rates after which no output's field has a hole.

    Holes are closed (coverage 1 along each axis) and sub-grids joined: behind no two layers do
    neighbouring outputs read disjoint sub-grids of a layer's input, which is what `inspect` finds;
    with `strict` not behind one either, so that the last rate is 1. The shapes of weights, MACs and
    the size of every map stay; each changed layer is padded by as much more as its taps reach. The
    receptive field is at least what it was, or the nearest that can be (`.kept` is then False).
    Branches that join count together: what is read through all of them is followed.

    The result is **not equal** to the source: it reads other positions, so that it computes
    something else and is to be trained again, from the weights that there are. PyTorch modules,
    ONNX files and Keras models are changed in a copy, stacks and known networks as data.

    Sets of rates from 1 to `largest` (twice the largest rate, if left out) are tried in the order
    of the number of changes: then `.fewest` is True. Where these are too many, single changes are
    followed, and `.least` is how many are needed at least. `outputs` names the layers or outputs
    whose fields count. Of a sequence model whose rates rise from 1 by the kernel (WaveNet), the
    sub-grids are its design, and are left unless `strict`.

    Others put layers in, which costs more and changes no rate: `method="front"` a convolution of
    rate 1 at the last map that all paths pass before the first dilated layer, as wide as its holes
    need; it fills holes and joins no sub-grids. `method="tail"` convolutions of falling rates (half
    the largest, a quarter, ... 1) behind the last dilated layer (Yu, Koltun and Funkhouser 2017,
    Dilated Residual Networks). They start as the identity. `at` names another layer to put them
    behind.

    Raises `ConversionError` where no rates do it, with what limits them and the nearest;
    `UnsupportedError` for JAX, whose functions are not rewritten, with the settings that do it, and
    for layers to be put into a Keras model; `ReadError` for bad arguments.

    >>> import atrous
    >>> whole = atrous.degrid("stack:k3d2 k3d2 k3d2", (1, 8, 64, 64))
    >>> for edit in whole.edits:
    ...     print(edit)
    conv2: dilation (2, 2) -> (3, 3)
    conv2: padding (2, 2) -> (3, 3)
    conv3: dilation (2, 2) -> (1, 1)
    conv3: padding (2, 2) -> (1, 1)
    >>> [(grid.taps, grid.size) for grids in whole.grids for grid in grids if grid.axis == "h"]
    [(7, 13), (13, 13)]
    >>> whole.fewest, whole.trained_again, whole.certificate.verdict
    (True, True, 'broken')
    """
    if method not in _METHODS:
        raise ReadError(f"method is {method!r}: use 'rates', 'front' or 'tail'.")
    if largest is not None and (type(largest) is not int or not 1 <= largest <= _LARGEST):
        raise ReadError(
            f"largest={largest!r} is no rate; give a whole number from 1 to {_LARGEST:,}."
        )
    if method == "rates" and at is not None:
        raise ReadError(
            "at=... says where layers are put in; it goes with method='front' or method='tail'."
        )
    names = output_names(outputs)

    def planned(network: Network, fits: Fits = lambda network, name: True) -> Degridding:  # noqa: ARG005 - anywhere
        step("choosing rates" if method == "rates" else "choosing where to put layers in")
        found = plan_degridding(
            network,
            names,
            method=method,
            strict=strict,
            largest=largest,
            at=at,
            fits=fits,
        )
        if isinstance(found, Refusal):
            raise found.error()
        return found

    kind = kind_of(source)
    if kind == "library":
        from atrous.readers.named import make, parse

        made = make(parse(source))
        return _of_module(made.model, made.input if input is None else input, names, planned)
    if kind in ("network", "zoo", "stack"):
        done = planned(read(source, input, structure_only=True))
        candidate = done.plan.candidate
        return degridded(candidate, done, degrid_edits(done), names, candidate)
    if kind in ("file", "message"):
        return _of_file(Path(source) if kind == "file" else source, input, names, planned)
    if kind == "module":
        return _of_module(sized(source, input), input, names, planned)
    if kind == "keras":
        return _of_keras(made_of(source)[0], input, names, planned)
    network = read(source, input, structure_only=True)  # says what a source is
    if kind == "jax":
        done = planned(network)
        what = "settings of its layers (kernel_dilation, padding)"
        what = what if done.inserted is None else "layers, put in,"
        edits = "; ".join(map(str, degrid_edits(done))) or "none are needed"
        raise UnsupportedError(
            f"the code of {network.name} is not rewritten, since JAX has it as a function; these "
            f"{what} leave no holes: {edits}."
        )
    raise UnsupportedError(
        f"{type(source).__name__} cannot be degridded: PyTorch modules, ONNX files and Keras "
        "models can; `atrous.degrid(atrous.read(...))` says what to change."
    )


_Planner = Callable[..., Degridding]


def _of_module(model: Any, input: Any, names: Sequence[str] | None, planned: _Planner) -> Degridded:
    from atrous.readers.torch.reader import read_torch
    from atrous.writers.torch.inserted import insert_torch, returned_by_a_module
    from atrous.writers.torch.model import rewrite_torch

    step("reading the model")
    before = folded(read_torch(model, input), around=True)
    done = planned(before, returned_by_a_module)
    step("rewriting the model")
    edits = degrid_edits(done)
    if done.inserted is not None:
        put = insert_torch(model, done.plan.reference, done.inserted)
        if isinstance(put, Refusal):
            raise put.error()
        made = put
    else:
        rewritten = rewrite_torch(model, done.plan)
        if isinstance(rewritten, Refusal):
            raise rewritten.error()
        made, edits = rewritten
    step("reading the result")
    return degridded(made, done, edits, names, read_torch(made, input))


def _of_keras(model: Any, input: Any, names: Sequence[str] | None, planned: _Planner) -> Degridded:
    from atrous.writers.keras.model import graph_up_to, rewrite_keras

    step("reading the model")
    source = graph_up_to(model, names)
    network = read(source, input, structure_only=True)
    done = planned(network)
    edits = degrid_edits(done)
    if done.inserted is not None:
        raise UnsupportedError(
            f"{source.name}: layers are put into PyTorch modules and ONNX files alone; change "
            f"rates (method='rates'), or build it with these: {'; '.join(map(str, edits))}."
        )
    step("rewriting the model")
    shapes = tuple(tensor.shape for tensor in network.inputs)
    rewritten = rewrite_keras(source, network, done.plan, shapes)
    if isinstance(rewritten, Refusal):
        raise rewritten.error()
    made, notes = rewritten
    done = replace(done, plan=replace(done.plan, notes=(*done.plan.notes, *notes)))
    step("reading the result")
    return degridded(made, done, edits, None, read(made, shapes, structure_only=True))


def _of_file(source: Any, input: Any, names: Sequence[str] | None, planned: _Planner) -> Degridded:
    from atrous.writers.onnx.inserted import insert_onnx
    from atrous.writers.onnx.model import Rewritten, rewritten

    step("reading the model")
    done = planned(read(source, input, structure_only=True))
    step("rewriting the model")
    if done.inserted is None:
        made: Any = rewritten(source, done.plan)
        if isinstance(made, Rewritten):
            done = replace(done, plan=replace(done.plan, notes=made.notes))
            made = made.model
    else:
        made = insert_onnx(source, done.plan.reference, done.inserted)
    if isinstance(made, Refusal):
        raise made.error()
    step("reading the result")
    given = {t.name: t.shape for t in done.plan.reference.inputs}
    after = read(made, given, structure_only=True)
    return degridded(made, done, degrid_edits(done), names, after)
