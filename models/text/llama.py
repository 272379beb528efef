"""Llama (Touvron et al. 2023; Llama 3.x): pre-norm decoder, rotary positions, gated mlp.

Reference: transformers `modeling_llama.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.decoder import PRE_NORMS, DecoderBlock, NormNames
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.rotary import RotaryConfig
from tfcli.models.context import Context
from tfcli.models.layers.attention import RotaryAttention
from tfcli.models.layers.embeddings import Embedding
from tfcli.models.layers.mlp import GatedMLP
from tfcli.models.layers.norms import RMSNorm
from tfcli.models.layers.rotary import Rotary


class LlamaModel(Backbone[RotaryConfig]):
    """Embeddings, blocks, final norm.

    Families that differ from Llama in their attention, mlp, norms or block override what makes
    these.

    Class attributes:
        attention_class: of every layer.
        mlp_class: of every layer.
        norms: of a block; see `DecoderBlock`.
        norm_class: of the residual stream, and of queries and keys.
        interleaved: rotary positions turn neighbouring dimensions, and not those of two halves.
        final_norm: what checkpoints call the norm after the last block.
    """

    attention_class: ClassVar[type[RotaryAttention]] = RotaryAttention
    mlp_class: ClassVar[type[nn.Module]] = GatedMLP
    norms: ClassVar[NormNames] = PRE_NORMS
    norm_class: ClassVar[type[RMSNorm]] = RMSNorm
    interleaved: ClassVar[bool] = False
    final_norm: ClassVar[str] = "norm"
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
        super().__init__(config, attention)
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.rotary = self.make_rotary()
        self.layers = nn.ModuleList(
            self.make_block(layer) for layer in range(config.num_hidden_layers)
        )
        self.add_module(self.final_norm, self.make_norm())

    def make_rotary(self) -> Any:
        """What `rotary_of` chooses from."""
        config = self.config
        return Rotary(
            config.rope_parameters,
            config.head_dim,
            config.max_position_embeddings,
            interleaved=self.interleaved,
        )

    def rotary_of(self, layer: int) -> Rotary | None:
        """What turns the queries and keys of a layer; None where it has no positions."""
        rotary: Rotary = self.rotary
        return rotary

    def make_norm(self) -> nn.Module:
        """The norm of the residual stream."""
        return self.norm_class(self.config.hidden_size, self.config.rms_norm_eps)

    def make_attention(self, layer: int) -> nn.Module:
        """One layer's attention."""
        config = self.config
        return self.attention_class(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            layer=layer,
            backend=self.attention,
            dropout=config.attention_dropout,
            window=config.window(layer),
            rotary=self.rotary_of(layer),
            **self.attention_options(layer),
        )

    def attention_options(self, layer: int) -> dict[str, Any]:
        """Further arguments of `RotaryAttention`: biases, norms, caps."""
        return {"bias": self.config.attention_bias}

    def head_norms(self) -> dict[str, Any]:
        """The options of attention whose heads of queries and keys have RMS norms."""
        width, eps = self.config.head_dim, self.config.rms_norm_eps
        return {"q_norm": self.norm_class(width, eps), "k_norm": self.norm_class(width, eps)}

    def whole_norms(self) -> dict[str, Any]:
        """The same where a norm is applied to all heads together."""
        config = self.config
        width, eps = config.head_dim, config.rms_norm_eps
        return {
            "q_norm": self.norm_class(config.num_attention_heads * width, eps),
            "k_norm": self.norm_class(config.num_key_value_heads * width, eps),
            "norm_whole": True,
        }

    def make_mlp(self, layer: int) -> nn.Module:
        """One layer's mlp."""
        config = self.config
        return self.mlp_class(
            config.hidden_size, config.intermediate_size, config.hidden_act, config.mlp_bias
        )

    def make_block(self, layer: int) -> nn.Module:
        """One layer."""
        return DecoderBlock(
            self.make_attention(layer),
            self.make_mlp(layer),
            self.make_norm,
            **{"norms": self.norms, **self.block_options(layer)},
        )

    def block_options(self, layer: int) -> dict[str, Any]:
        """Further arguments of `DecoderBlock`: dropout, a factor, the name of the mlp."""
        return {}

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        norm = getattr(self, self.final_norm)
        return context.finished(norm(run_blocks(self.layers, x, context)))
