"""CLIP (Radford et al. 2021): two towers into one space, trained by cross entropy over pairs.

Reference: transformers `modeling_clip.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.configs.clip import CLIPConfig
from tfcli.models.heads.image_classification import ImageClassification
from tfcli.models.layers.linear import linear
from tfcli.models.multimodal.dual_encoder import DualEncoder
from tfcli.models.vision.clip import CLIPVisionModel


class CLIPModel(DualEncoder[CLIPConfig]):
    """Two towers, a projection of each, and a scale."""

    prefix = "clip"

    def __init__(self, config: CLIPConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        text, vision, size = config.text_config, config.vision_config, config.projection_dim
        self.visual_projection = linear(vision.hidden_size, size, bias=False)
        self.text_projection = linear(text.hidden_size, size, bias=False)
        self.logit_scale = nn.Parameter(torch.empty(()))

    def projected_image(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.visual_projection(pooled)

    def projected_text(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.text_projection(pooled)

    def compared(self, text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return text @ image.t() * self.logit_scale.exp()

    def pair_loss(self, logits: torch.Tensor) -> torch.Tensor:
        """The mean of two cross entropies: which image a text has, and which text an image."""
        places = torch.arange(len(logits), device=logits.device)
        scores = logits.float()
        return (F.cross_entropy(scores, places) + F.cross_entropy(scores.t(), places)) / 2

    def init_std(self, name: str) -> float:
        config = self.config
        tower = config.vision_config if name.startswith("visual_") else config.text_config
        return float(tower.hidden_size**-0.5 * config.initializer_factor)

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        if name != "logit_scale":
            return None
        return torch.tensor(float(self.config.logit_scale_init_value))


class CLIPImageClassification(ImageClassification):
    """A classifier on CLIP's tower for images; the one for texts is left out."""

    body_class = CLIPVisionModel
    body_field = "vision_config"
