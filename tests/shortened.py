"""Models of libraries with less of the same: what their blocks are, in less time."""

from __future__ import annotations

from torch import nn

__all__ = ["FEW_DENSE_LAYERS", "shortened"]

FEW_DENSE_LAYERS = (2, 3, 2, 2)
"""The `block_config` of a short DenseNet: its layers are each of another width."""


def shortened(model: nn.Module) -> nn.Module:
    """The model with two, at most, of the blocks in a row that are alike in every setting.

    The first block of a stage, which strides or widens, is unlike those behind it and stays.
    """
    for part in list(model.modules()):
        if isinstance(part, nn.Sequential) and type(part).forward is nn.Sequential.forward:
            said = [repr(block) for block in part]
            for i in reversed(range(2, len(said))):
                if said[i] == said[i - 1] == said[i - 2]:
                    del part[i]
    return model
