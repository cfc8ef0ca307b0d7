"""A stack at another output stride, as a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from atrous.errors import UnsupportedError
from atrous.explore.draft import Draft
from atrous.verbs.convert import convert

__all__ = ["converted"]


def converted(draft: Draft, output_stride: int) -> tuple[Draft, str]:
    """The draft with its edits, and the certificate's verdict.

    Raises `ConversionError` where the result would not compute the same, `UnsupportedError` where
    it takes more than a stack can say.

    >>> made, verdict = converted(Draft.of("k3s2 k3s2 k3", (1, 8, 65, 65)), 2)
    >>> made.text, verdict
    ('k3s2 k3 k3d2', 'exact')
    """
    result = convert(f"stack:{draft.text}", output_stride, input=draft.shape, measure=False)
    layers = {layer.name: layer for layer in draft.layers}
    for edit in result.edits:
        layer = layers.get(edit.layer)
        if layer is None or edit.attribute not in ("stride", "dilation", "padding"):
            raise UnsupportedError(f"{edit.layer}: {edit} is not something that a stack can say.")
        if edit.attribute == "padding":
            if not isinstance(layer.padding, str):
                layers[edit.layer] = replace(layer, padding=_pads(edit.after))
            continue
        layers[edit.layer] = replace(layer, **{edit.attribute: _short(edit.after)})  # type: ignore[arg-type]
    made = draft.replaced(list(layers.values()))
    after = result.after
    assert after is not None
    same = [layer.field for layer in made.report().layers] == [
        layer.field for layer in after.layers if layer.name in layers
    ]
    if not same or made.report().outputs[0].output_shape != after.outputs[0].output_shape:
        raise UnsupportedError(
            "the conversion pads or crops in a way that a stack cannot say; "
            "`atrous convert` writes it as a model."
        )
    return made, result.certificate.verdict


def _short(value: Any) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (int(value),)
    return values[:1] if len(set(values)) == 1 else values


def _pads(value: Any) -> tuple[int, int]:
    first = value[0] if isinstance(value, Sequence) else value
    return (first, first) if isinstance(first, int) else (first[0], first[1])
