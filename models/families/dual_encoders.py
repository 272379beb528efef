"""An encoder of images beside one of texts, trained to agree."""

from __future__ import annotations

from tfcli.models.families.entry import HEADS, family

_CONTRASTIVE = {"contrastive": f"{HEADS}.contrastive:Contrastive"}
DUAL_ENCODERS = (
    family(
        "clip",
        "CLIP",
        "dual encoder",
        {**_CONTRASTIVE, "image-classification": "multimodal.clip:CLIPImageClassification"},
        "two towers into one space",
        "cross entropy over pairs",
    ),
    family(
        "siglip",
        "Siglip",
        "dual encoder",
        {**_CONTRASTIVE, "image-classification": "multimodal.siglip:SiglipImageClassification"},
        "two towers into one space",
        "a yes or no for each pair",
    ),
    family(
        "siglip2",
        "Siglip2",
        "dual encoder",
        {**_CONTRASTIVE, "image-classification": "multimodal.siglip:Siglip2ImageClassification"},
        "two towers into one space",
        "images of any shape, as patches",
        backbone="siglip:Siglip2Model",
    ),
)
