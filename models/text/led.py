"""LED (Beltagy et al. 2020): BART whose encoder has Longformer's attention.

Reference: transformers `modeling_led.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from tfcli.models.configs.bart import Seq2SeqConfig
from tfcli.models.configs.led import LEDConfig
from tfcli.models.configs.longformer import radius_of
from tfcli.models.context import Context
from tfcli.models.layers.linear import linear
from tfcli.models.layers.local_global import INPUT, LocalGlobalAttention
from tfcli.models.text.bart import BartModel, BartStack, LearnedPositions


class LEDAttention(nn.Module):
    """Longformer's attention and the output projection."""

    def __init__(self, config: LEDConfig, layer: int, attention: str) -> None:
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        radius = radius_of(config.attention_window, layer)
        self.longformer_self_attn = LocalGlobalAttention(
            size, heads, radius, config.attention_dropout, attention
        )
        self.output = linear(size, size, bias=True)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.output(self.longformer_self_attn(x, context))


class LEDStack(BartStack):
    """The encoder or the decoder. Arguments as in `BartStack`."""

    inputs: ClassVar[tuple[str, ...]] = (INPUT,)

    def __init__(
        self, config: Seq2SeqConfig, body: type[BartModel], attention: str, *, decoder: bool
    ) -> None:
        super().__init__(config, body, attention, decoder=decoder)
        assert isinstance(config, LEDConfig)
        if decoder:
            self.limit = config.max_decoder_position_embeddings
        else:
            for layer, block in enumerate(self.layers):
                block.self_attn = LEDAttention(config, layer, attention)
            # Most texts have no token that sees all others: nothing would calibrate its linears.
            self.walk = None
        self.embed_positions = LearnedPositions(self.limit, config.hidden_size, offset=0)

    def embed(self, **inputs: Any) -> torch.Tensor:
        return super().embed(**{name: inputs[name] for name in inputs if name != INPUT})


class LEDModel(BartModel):
    """A token table, an encoder and a decoder.

    Input `global_attention_mask` [b, k]: 1 for a token of the source that sees all and that all
    see; none by default.
    """

    prefix = "led"
    stack_class = LEDStack
    inputs: ClassVar[tuple[str, ...]] = (INPUT,)
