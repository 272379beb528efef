"""SigLIP (Zhai et al. 2023): two towers, trained by a yes or no for each image with each text.

Reference: transformers `modeling_siglip.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.configs.siglip import SiglipConfig
from tfcli.models.heads.image_classification import ImageClassification
from tfcli.models.multimodal.dual_encoder import DualEncoder
from tfcli.models.vision.siglip import SiglipVisionModel
from tfcli.models.vision.siglip2 import Siglip2VisionModel


class SiglipModel(DualEncoder[SiglipConfig]):
    """Two towers, a scale and a bias."""

    prefix = "siglip"

    def __init__(self, config: SiglipConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.logit_scale = nn.Parameter(torch.empty(1))
        self.logit_bias = nn.Parameter(torch.empty(1))

    def compared(self, text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return text @ image.t() * self.logit_scale.exp() + self.logit_bias

    def pair_loss(self, logits: torch.Tensor) -> torch.Tensor:
        """Binary cross entropy: a sum over images, the mean over texts."""
        scores = logits.float()
        sign = 2 * torch.eye(len(scores), device=scores.device) - 1
        return -F.logsigmoid(sign * scores).sum(-1).mean()

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        return torch.zeros(shape) if name in ("logit_scale", "logit_bias") else None


class Siglip2Model(SiglipModel):
    """The same with SigLIP 2's towers."""

    prefix = "siglip2"


class SiglipImageClassification(ImageClassification):
    """A classifier on SigLIP's tower for images; the one for texts is left out."""

    body_class = SiglipVisionModel
    body_field = "vision_config"


class Siglip2ImageClassification(ImageClassification):
    """The same with SigLIP 2's tower."""

    body_class = Siglip2VisionModel
    body_field = "vision_config"
