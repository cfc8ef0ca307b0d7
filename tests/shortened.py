"""Models of libraries with less of the same: what their blocks are, in less time."""

from __future__ import annotations

from timm.models._features import FeatureDictNet, FeatureHookNet
from timm.models.regnet import RegStage
from torch import nn

__all__ = ["FEW_DENSE_LAYERS", "NARROW", "shortened"]

FEW_DENSE_LAYERS = (2, 3, 2, 2)
"""The `block_config` of a short DenseNet: its layers are each of another width."""

NARROW = {"channels": (16, 24, 32, 40)}
"""Options of timm's ResNets: channels of the four stages, of which tests need no more.

No two are alike: a stage as wide as the one before it has no shortcut of its own without a stride.
"""


def shortened(model: nn.Module) -> nn.Module:
    """The model with two, at most, of the blocks in a row that are alike in every setting.

    The first block of a stage, which strides or widens, is unlike those behind it and stays. So
    does one whose output is asked for.
    """
    for part in list(model.modules()):
        if _runs_in_a_row(part):
            named = list(part.named_children())
            said = [repr(block) for _, block in named]
            for i in reversed(range(2, len(said))):
                name, block = named[i]
                if said[i] == said[i - 1] == said[i - 2] and not _is_watched(part, name, block):
                    if isinstance(part, nn.Sequential):
                        del part[i]
                    else:
                        del part._modules[name]
    return model


def _runs_in_a_row(part: nn.Module) -> bool:
    """Whether all that a module does is to run its children, one behind the other."""
    if isinstance(part, nn.Sequential):
        return type(part).forward is nn.Sequential.forward
    if isinstance(part, FeatureHookNet):
        return "body" not in part
    return isinstance(part, RegStage | FeatureDictNet)


def _is_watched(part: nn.Module, name: str, block: nn.Module) -> bool:
    """Whether an output of the model is what this block makes."""
    inside = block.modules()
    hooked = any(one._forward_hooks or one._forward_pre_hooks for one in inside)
    return hooked or name in getattr(part, "return_layers", ())
