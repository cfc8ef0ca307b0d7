"""Small models of the transformers library, by name, with the map that counts as their output."""

from __future__ import annotations

import torch

__all__ = ["Last", "transformers_model"]

SMALL = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}
PYRAMID = {"hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1]}
LAST = {"out_features": ["stage4"]}
WIDE = {"embedding_size": 32, "hidden_sizes": [128, 128, 128, 256], "depths": [1, 1, 2, 1]}
# Name -> the class, its configuration, and what differs from the configuration's defaults.
MODELS = {
    "bit": (
        "BitBackbone",
        "BitConfig",
        {
            "embedding_size": 32,
            "hidden_sizes": [128, 128, 128, 256],
            "depths": [1, 1, 2, 1],
            **LAST,
        },
    ),
    "bit_same": (
        "BitBackbone",
        "BitConfig",
        {
            "embedding_size": 32,
            "hidden_sizes": [128, 128, 128, 256],
            "depths": [1, 1, 2, 1],
            "global_padding": "SAME",
            **LAST,
        },
    ),
    "convnext": ("ConvNextBackbone", "ConvNextConfig", {**SMALL, **LAST}),
    "convnextv2": ("ConvNextV2Backbone", "ConvNextV2Config", {**SMALL, **LAST}),
    "focalnet": ("FocalNetBackbone", "FocalNetConfig", {"embed_dim": 16, **PYRAMID, **LAST}),
    "hgnet_v2": ("HGNetV2Backbone", "HGNetV2Config", LAST),
    "mobilenet_v1": ("MobileNetV1Model", "MobileNetV1Config", {"depth_multiplier": 0.25}),
    "mobilenet_v2": ("MobileNetV2Model", "MobileNetV2Config", {"depth_multiplier": 0.35}),
    "poolformer": ("PoolFormerModel", "PoolFormerConfig", PYRAMID),
    "regnet": ("RegNetModel", "RegNetConfig", {"embedding_size": 16, "groups_width": 8, **SMALL}),
    "resnet": (
        "ResNetBackbone",
        "ResNetConfig",
        {"embedding_size": 16, "layer_type": "basic", **SMALL, **LAST},
    ),
    "segformer": ("SegformerModel", "SegformerConfig", {"decoder_hidden_size": 32, **PYRAMID}),
    "swin": (
        "SwinBackbone",
        "SwinConfig",
        {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8], **LAST},
    ),
    "textnet": ("TextNetBackbone", "TextNetConfig", LAST),
    "upernet": ("UperNetForSemanticSegmentation", "UperNetConfig", {}),
}
"""`swin` cuts its maps into windows and stays refused."""


class Last(torch.nn.Module):
    """A model of transformers with the last map that it makes as its output."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        made = self.model(x)
        if "feature_maps" in made:
            return made["feature_maps"][-1]
        return made["logits"] if "logits" in made else made["last_hidden_state"]


def transformers_model(name):
    """The model of that name, small and with random weights."""
    import transformers

    kind, config, given = MODELS[name]
    if name == "upernet":
        stages = [f"stage{i}" for i in range(1, 5)]
        backbone = transformers.ConvNextConfig(**{**SMALL, "out_features": stages})
        given = {
            "backbone_config": backbone,
            "hidden_size": 32,
            "use_auxiliary_head": False,
        }
    made = getattr(transformers, kind)(getattr(transformers, config)(**given))
    return Last(made)
