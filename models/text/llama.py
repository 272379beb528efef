"""Llama (Touvron et al. 2023; Llama 3.x): pre-norm decoder, rotary positions, gated mlp.

Reference: transformers `modeling_llama.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.blocks.run import run_blocks
from tfcli.models.cache import Cache
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.causal_lm import CausalLM
from tfcli.models.configs.llama import LlamaConfig
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.embeddings import Embedding, embed_inputs
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import causal_mask, has_padding, position_ids_of
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.layers.rotary import RotaryEmbedding
from tfcli.models.model import compute_dtype


class LlamaBlock(DecoderBlock):
    """One layer."""

    def __init__(self, config: LlamaConfig, layer: int, attention: str) -> None:
        super().__init__(
            RotaryAttention(
                config.hidden_size,
                config.num_attention_heads,
                config.num_key_value_heads,
                config.head_dim,
                layer=layer,
                bias=config.attention_bias,
                dropout=config.attention_dropout,
                backend=attention,
            ),
            GatedMLP(
                config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias
            ),
            RMSNorm(config.hidden_size, config.rms_norm_eps),
            RMSNorm(config.hidden_size, config.rms_norm_eps),
        )


class LlamaModel(nn.Module):
    """Embeddings, blocks, final norm."""

    def __init__(self, config: LlamaConfig, attention: str) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(
            LlamaBlock(config, layer, attention) for layer in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(
            config.rope_parameters, config.head_dim, config.max_position_embeddings
        )

    def forward(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        cache: Cache | None,
        inputs_embeds: torch.Tensor | None,
        checkpointing: bool,
        hidden_states: list[torch.Tensor] | None,
        attentions: list[torch.Tensor] | None,
    ) -> torch.Tensor:
        """Arguments as in `CausalLM.forward`. Returns [b, s, d]."""
        x = embed_inputs(self.embed_tokens, input_ids, inputs_embeds)
        batch, length = x.shape[:2]
        past = cache.length if cache is not None else 0
        padding = attention_mask if has_padding(attention_mask, batch, past + length) else None
        if position_ids is None:
            position_ids = position_ids_of(padding, length, past, x.device)
        rotation = self.rotary_emb(position_ids, compute_dtype(x))
        mask = causal_mask(padding, length, past, x.device)
        x = run_blocks(
            self.layers,
            x,
            rotation,
            mask,
            cache,
            attentions,
            checkpointing=checkpointing,
            hidden_states=hidden_states,
        )
        x = self.norm(x)
        if hidden_states is not None:
            hidden_states.append(x)
        return x


class LlamaForCausalLM(CausalLM):
    """Llama with a language-model head.

    Args:
        config: the family's config.
        attention: name of the attention backend.
    """

    ties: ClassVar[dict[str, str]] = {"lm_head.weight": "model.embed_tokens.weight"}
    ignorable: ClassVar[dict[str, str]] = {r"rotary_emb\.inv_freq$": "computed from the config"}
    calibration = CalibrationWalk(
        blocks="model.layers",
        groups=(
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("self_attn.o_proj",),
            ("mlp.gate_proj", "mlp.up_proj"),
            ("mlp.down_proj",),
        ),
    )

    def __init__(self, config: LlamaConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.model = LlamaModel(config, attention)
        self.lm_head = linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie_weights()
