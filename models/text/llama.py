"""Llama (Touvron et al. 2023; Llama 3.x): pre-norm decoder, rotary positions, gated mlp.

Reference: transformers `modeling_llama.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.decoder import DecoderBlock
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.rotary import RotaryConfig
from tfcli.models.context import Context
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.embeddings import Embedding, embed_inputs
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.layers.rotary import Rotary


class LlamaModel(Backbone):
    """Embeddings, blocks, final norm.

    Families that differ from Llama in their attention, mlp, norms or block override what makes
    these.
    """

    attention_class: ClassVar[type[RotaryAttention]] = RotaryAttention
    prefixes: ClassVar[dict[str, str]] = {"question-answering": "transformer"}
    ignorable: ClassVar[dict[str, str]] = {r"rotary_emb\.inv_freq$": "computed from the config"}
    walk = CalibrationWalk(
        blocks="layers",
        groups=(
            ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            ("self_attn.o_proj",),
            ("mlp.gate_proj", "mlp.up_proj"),
            ("mlp.down_proj",),
        ),
    )

    def __init__(self, config: RotaryConfig, attention: str) -> None:
        super().__init__()
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.rotary = self.make_rotary(config)
        self.layers = nn.ModuleList(
            self.make_block(config, layer, attention) for layer in range(config.num_hidden_layers)
        )
        self.norm = self.make_norm(config)

    def make_rotary(self, config: Any) -> Any:
        """Shared by all layers, unless `attention_options` chooses another for some."""
        return Rotary(config.rope_parameters, config.head_dim, config.max_position_embeddings)

    def make_norm(self, config: Any) -> nn.Module:
        """The norm of the residual stream."""
        return RMSNorm(config.hidden_size, config.rms_norm_eps)

    def make_attention(self, config: Any, layer: int, attention: str) -> nn.Module:
        """One layer's attention."""
        return self.attention_class(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            layer=layer,
            backend=attention,
            dropout=config.attention_dropout,
            window=config.window(layer),
            **{"rotary": self.rotary, **self.attention_options(config, layer)},
        )

    def attention_options(self, config: Any, layer: int) -> dict[str, Any]:
        """Further arguments of `RotaryAttention`: biases, norms, caps, a rotary of its own."""
        return {"bias": config.attention_bias}

    def make_mlp(self, config: Any, layer: int) -> nn.Module:
        """One layer's mlp."""
        return GatedMLP(
            config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias
        )

    def make_block(self, config: Any, layer: int, attention: str) -> nn.Module:
        """One layer."""
        return DecoderBlock(
            self.make_attention(config, layer, attention),
            self.make_mlp(config, layer),
            self.make_norm(config),
            self.make_norm(config),
        )

    def embed(
        self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None
    ) -> torch.Tensor:
        """What the first block gets: [b, s, d]."""
        return embed_inputs(self.embed_tokens, input_ids, inputs_embeds)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        context: Context,
        **inputs: torch.Tensor | None,
    ) -> torch.Tensor:
        """Arguments and result as in `Backbone.forward`."""
        x = run_blocks(self.layers, self.embed(input_ids, inputs_embeds), context)
        return context.finished(self.norm(x))
