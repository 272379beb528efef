"""Whisper (Radford et al. 2022): spectrograms through two convolutions, and BART's blocks.

Reference: transformers `modeling_whisper.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.cross_decoder import TransformerBlock
from tfcli.models.blocks.run import run_blocks
from tfcli.models.configs.bart import Seq2SeqConfig
from tfcli.models.configs.whisper import WhisperConfig
from tfcli.models.context import Context
from tfcli.models.errors import ModelError
from tfcli.models.layers.convolution import Conv1d
from tfcli.models.layers.norms import layer_norm
from tfcli.models.layers.sinusoidal import SinusoidalPositions, fairseq_sines
from tfcli.models.layers.spec_augment import hidden_features, hidden_times
from tfcli.models.rules import Rename
from tfcli.models.text.bart import BartModel, LearnedPositions


class WhisperPositions(SinusoidalPositions):
    """The encoder's table, which every checkpoint holds."""

    def table(self) -> torch.Tensor:
        return fairseq_sines(*self.weight.shape)


class WhisperEncoder(Backbone[WhisperConfig]):
    """Two convolutions, of which the second halves the frames, positions, blocks and a norm.

    A window always has 30 seconds, and silence in it is seen as any sound is: there is no mask.
    """

    main = "input_features"

    def __init__(self, config: WhisperConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        size = config.hidden_size
        self.conv1 = Conv1d(config.num_mel_bins, size, 3, padding=1)
        self.conv2 = Conv1d(size, size, 3, stride=2, padding=1)
        self.embed_positions = WhisperPositions(config.max_source_positions, size)
        self.layers = nn.ModuleList(
            TransformerBlock(
                size,
                config.num_attention_heads,
                config.encoder_ffn_dim,
                layer=layer,
                decoder=False,
                norm_first=True,
                key_bias=False,
                act=config.activation_function,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                activation_dropout=config.activation_dropout,
                backend=attention,
            )
            for layer in range(config.num_hidden_layers)
        )
        self.layer_norm = layer_norm(size, 1e-5)
        self.dropout = nn.Dropout(config.dropout)

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Hide some of the features in training, where the config asks for it."""
        features: torch.Tensor | None = inputs.get("input_features")
        config = self.config
        if features is None or not (self.training and config.apply_spec_augment):
            return inputs
        rows, bins, frames = features.shape
        if config.mask_time_prob > 0:
            times = hidden_times(config, rows, frames).to(features.device)
            features = features.masked_fill(times[:, None, :], 0)
        if config.mask_feature_prob > 0:
            hidden = hidden_features(config, rows, bins).to(features.device)
            features = features.masked_fill(hidden[..., None], 0)
        return {**inputs, "input_features": features}

    def embed(
        self,
        *,
        input_features: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """Convolve features.

        Args:
            input_features (Tensor): [b, mels, frames], of one window.
            inputs_embeds (Tensor): [b, frames / 2, d], what the convolutions give.

        Returns:
            [b, frames / 2, d]

        Raises:
            ModelError: both or neither were given, or features of another shape.
        """
        if (input_features is None) == (inputs_embeds is None):
            raise ModelError("give exactly one of input_features and inputs_embeds")
        if input_features is None:
            assert inputs_embeds is not None
            return inputs_embeds
        wanted = (self.config.num_mel_bins, self.config.window_frames)
        if input_features.ndim != 3 or input_features.shape[1:] != wanted:
            raise ModelError(
                f"input_features has shape {tuple(input_features.shape)}, "
                f"expected [b, {wanted[0]}, {wanted[1]}]",
                where="input_features",
                fix="prepare audio with the model's own feature extractor, a window at a time",
            )
        x = F.gelu(self.conv1(input_features.to(self.conv1.weight.dtype)))
        return F.gelu(self.conv2(x)).transpose(1, 2).contiguous()

    def mask_of(self, attention_mask: Any, inputs: Any, x: torch.Tensor) -> None:
        """None: every state is seen, as the model was trained."""

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        if x.shape[1:] != self.embed_positions.weight.shape:
            rows, size = self.embed_positions.weight.shape
            raise ModelError(
                f"inputs_embeds has shape {tuple(x.shape)}, expected [b, {rows}, {size}]"
            )
        x = self.dropout(x + self.embed_positions.weight.to(x.dtype))
        drop = self.config.encoder_layerdrop
        return context.finished(
            self.layer_norm(run_blocks(self.layers, x, context, layer_drop=drop))
        )


class WhisperModel(BartModel):
    """An encoder of spectrograms, and BART's decoder with the norms first."""

    config: WhisperConfig

    main = "input_features"
    tokens = "decoder.embed_tokens"
    rules = (Rename(r"^lm_head\.", "proj_out."),)
    shares: ClassVar[dict[str, str]] = {}
    logits_bias = False
    norm_first = True
    norms_embeddings = False
    key_bias = False

    @classmethod
    def tower_class(cls) -> type[WhisperEncoder]:
        return WhisperEncoder

    @classmethod
    def tower_path(cls) -> str:
        return "encoder"

    def add_table(self) -> None:
        """The decoder alone reads tokens, so its table is its own."""

    def make_encoder(self) -> WhisperEncoder:
        return WhisperEncoder(self.config, self.attention)

    @classmethod
    def scale(cls, config: Seq2SeqConfig) -> float:
        """1: the config has a key for it, at which the reference does not look."""
        return 1.0

    @classmethod
    def make_positions(cls, config: Seq2SeqConfig) -> nn.Module:
        return LearnedPositions(config.max_position_embeddings, config.hidden_size, offset=0)

    def states_mask(self, attention_mask: Any, states: Any, inputs: Any) -> None:
        """None: the decoder sees every state, too."""
