"""Models of images."""

from __future__ import annotations

from tfcli.models.families.entry import HEADS, TOWER, family

_CLASSIFIER = {"image-classification": f"{HEADS}.image_classification:ImageClassification"}
_FILLS_IN = {"masked-image-modeling": f"{HEADS}.masked_image_modeling:MaskedImageModeling"}
_MAPS = {"feature-maps": f"{HEADS}.feature_maps:FeatureMaps"}
VISION = (
    family(
        "vit",
        "ViT",
        "vision",
        TOWER | _CLASSIFIER | _FILLS_IN | _MAPS,
        "class token",
        "learned positions resized for other images",
        "feature maps",
    ),
    family(
        "deit",
        "DeiT",
        "vision",
        {
            **TOWER,
            **_CLASSIFIER,
            "distilled-image-classification": (
                f"{HEADS}.image_classification:DistilledImageClassification"
            ),
            **_FILLS_IN,
            **_MAPS,
        },
        "a token that learns from a teacher",
        config="vit:DeiTConfig",
        backbone="vit:DeiTModel",
        names={
            "distilled-image-classification": "DeiTForImageClassificationWithTeacher",
        },
    ),
    family(
        "dinov2",
        "Dinov2",
        "vision",
        TOWER | _CLASSIFIER | _MAPS,
        "scaled branches",
        "gated mlp",
        "positions resized for every image",
        "feature maps",
    ),
    family(
        "dinov2_with_registers",
        "Dinov2WithRegisters",
        "vision",
        TOWER | _CLASSIFIER | _MAPS,
        "registers",
        "scaled branches",
        "positions resized for every image",
        "feature maps",
        config="dinov2:Dinov2WithRegistersConfig",
        backbone="dinov2:Dinov2WithRegistersModel",
    ),
    family(
        "clip_vision_model",
        "CLIPVision",
        "vision",
        {**TOWER, "projection": "vision.clip:CLIPVisionProjection"},
        "class token",
        "learned positions resized for other images",
        config="clip:CLIPVisionConfig",
        backbone="clip:CLIPVisionModel",
        names={"projection": "CLIPVisionModelWithProjection"},
    ),
    family(
        "siglip_vision_model",
        "SiglipVision",
        "vision",
        TOWER,
        "learned positions resized for other images",
        "pooled by attention",
        config="siglip:SiglipVisionConfig",
        backbone="siglip:SiglipVisionModel",
    ),
    family(
        "siglip2_vision_model",
        "Siglip2Vision",
        "vision",
        TOWER,
        "images of any shape, as patches",
        "pooled by attention",
        config="siglip2:Siglip2VisionConfig",
        backbone="siglip2:Siglip2VisionModel",
    ),
    family(
        "qwen2_vl_vision",
        "Qwen2VLVision",
        "vision",
        TOWER,
        "images and videos of any size, as patches",
        "rotary over rows and columns",
        config="qwen2_vl:Qwen2VLVisionConfig",
        backbone="qwen2_vl:Qwen2VLVisionModel",
        names={"embedding": "Qwen2VisionTransformerPretrainedModel"},
    ),
)
