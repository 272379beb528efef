"""CLIP's tower for texts (Radford et al. 2021): a causal pre-norm transformer.

Reference: transformers `modeling_clip.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.clip import CLIP_WALK, CLIPEncoder
from tfcli.models.configs.clip import CLIPTextConfig
from tfcli.models.configs.dual_encoder import TextTowerConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.heads.tower import Projection
from tfcli.models.layers.embeddings import Embedding, check_length
from tfcli.models.layers.norms import layer_norm
from tfcli.models.rules import OldName
from tfcli.models.vision.clip import clip_std

T = TypeVar("T", bound=TextTowerConfig)
OLD_END = 2  # what configs said of the end-of-text token before transformers 4.32, wrongly


class CLIPTextEmbeddings(nn.Module):
    """The tables of tokens and of positions."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.token_embedding = Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """Add positions, which count padding too.

        Args:
            x (Tensor): [b, s, d], the tokens.
            context: of the forward pass.

        Returns:
            [b, s, d]

        Raises:
            ModelError: the text is too long.
        """
        check_length(context, self.position_embedding.num_embeddings)
        places = torch.arange(x.shape[1], device=x.device)
        return x + self.position_embedding(context.positions if context.placed else places)


class TextTower(Backbone[T]):
    """Tokens with positions, blocks, a norm."""

    prefix = "text_model"
    tokens = "embeddings.token_embedding"
    packs = False
    rules = (OldName(r"^(text_model\.)text_model\.", r"\1"),)
    ignorable: ClassVar[dict[str, str]] = {r"embeddings\.position_ids$": "counted, not stored"}
    walk = CLIP_WALK
    causal: ClassVar[bool]

    def __init__(self, config: T, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.embeddings = CLIPTextEmbeddings(config)
        self.encoder = CLIPEncoder(config, attention, causal=self.causal)
        self.final_layer_norm = layer_norm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the tokens -> [b, s, d]; see `Backbone.forward`."""
        return self.final_layer_norm(self.encoder(self.embeddings(x, context), context))


class CLIPTextModel(TextTower[CLIPTextConfig]):
    """Causal. The text as a whole is the state at its end-of-text token."""

    causal = True

    def pooler_output(self, x: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The state where each text ends: [b, d]

        Raises:
            ModelError: the ids were not given, or a text has no end.
        """
        ids = inputs.get("input_ids")
        if ids is None:
            raise ModelError("CLIP's text tower needs input_ids to know where each text ends")
        return x[torch.arange(len(x), device=x.device), self.ends(ids)]

    def ends(self, ids: torch.Tensor) -> torch.Tensor:
        """Place of the first end-of-text token of each row: ids [b, s] -> [b]"""
        end = self.config.eos_token_id
        if end == OLD_END:
            return ids.argmax(-1)  # the highest id of CLIP's vocabulary is the end of a text
        here = torch.zeros_like(ids, dtype=torch.bool)
        for known in end if isinstance(end, list) else [end]:
            here = here | (ids == known)
        # Looking waits for the device, so it is done where that costs nothing.
        if not torch.compiler.is_compiling() and ids.device.type == "cpu":
            missing = (~here.any(-1)).nonzero().flatten().tolist()
            if missing:
                raise ModelError(
                    f"text {missing[0]} has no end-of-text token (eos_token_id {end}), "
                    "whose state stands for the whole text",
                    where="input_ids",
                    fix="use the model's own tokenizer, which adds it",
                )
        return here.int().argmax(-1)

    def init_std(self, name: str) -> float:
        if name.startswith("embeddings."):
            return 0.02 * self.config.initializer_factor
        return clip_std(name, self.config)


class CLIPTextProjection(Projection):
    """A tower for texts and a linear into the space that images and texts share."""

    linear_name = "text_projection"
    output_name = "text_embeds"
