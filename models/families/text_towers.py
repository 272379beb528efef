"""Text models that are parts of others, and are checkpoints by themselves too."""

from __future__ import annotations

from tfcli.models.families.entry import TOWER, family

TEXT_TOWERS = (
    family(
        "clip_text_model",
        "CLIPText",
        "encoder",
        {**TOWER, "projection": "text.clip:CLIPTextProjection"},
        "causal",
        "learned positions",
        "pooled where the text ends",
        config="clip:CLIPTextConfig",
        backbone="clip:CLIPTextModel",
        names={"projection": "CLIPTextModelWithProjection"},
    ),
    family(
        "siglip_text_model",
        "SiglipText",
        "encoder",
        TOWER,
        "learned positions",
        "pooled at the last token",
        config="siglip:SiglipTextConfig",
        backbone="siglip:SiglipTextModel",
    ),
    family(
        "siglip2_text_model",
        "Siglip2Text",
        "encoder",
        TOWER,
        "learned positions",
        "pooled at the last token",
        config="siglip2:Siglip2TextConfig",
        backbone="siglip:SiglipTextModel",
    ),
)
TEXT_PARTS = (
    family(
        "qwen2_vl_text",
        "Qwen2VLText",
        "decoder",
        TOWER,
        "positions of time, height and width",
        config="qwen2_vl:Qwen2VLTextConfig",
        backbone="qwen2_vl:Qwen2VLTextModel",
    ),
)
