"""What the heads of encoder-decoders share: running the two parts, one after the other."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.cache import Cache
from tfcli.models.config import ModelConfig
from tfcli.models.context import Memory, begin
from tfcli.models.encoder_decoder import EncoderDecoder
from tfcli.models.errors import ModelError
from tfcli.models.layers.masks import cross_mask, has_padding
from tfcli.models.model import Model, recorded
from tfcli.models.output import ModelOutput


class Seq2Seq(Model):
    """An encoder-decoder with a head.

    Class attributes:
        parts: which of its two parts the task needs.
    """

    body_class: ClassVar[type[EncoderDecoder]]
    parts: ClassVar[tuple[str, ...]] = ("encoder", "decoder")

    @classmethod
    def ties(cls) -> dict[str, str]:
        base, shares = cls.base(), cls.body_class.shares
        return {f"{base}.{n}": f"{base}.{shares[n]}" for n in shares if n.startswith(cls.parts)}

    @classmethod
    def ties_of(cls, config: ModelConfig) -> dict[str, str]:
        return cls.body_class.tied(config, cls.ties())

    @property
    def body(self) -> EncoderDecoder:
        """The backbone."""
        body: EncoderDecoder = getattr(self, self.base())
        return body

    @property
    def blocks(self) -> nn.ModuleList:
        """The encoder's blocks and the decoder's, the units of sharding."""
        paths = (path for path in self.body.lists if path.startswith(self.parts))
        return nn.ModuleList(
            block for path in paths for block in self.body.get_submodule(path).children()
        )

    def encode(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The encoder's states, to be given to `forward` as `encoder_states`.

        Args:
            input_ids (Tensor): [b, k]
            attention_mask (Tensor): [b, k], 1 for a token, 0 for padding on either side.
            inputs_embeds (Tensor): [b, k, d], in place of input_ids, before positions are added.

        Returns:
            [b, k, d], after the final norm
        """
        return self.run_encoder(input_ids, inputs_embeds, attention_mask)[0]

    def run_encoder(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor, ModelOutput]:
        """Run the encoder: its states [b, k, d], and an output with what was asked for."""
        context = begin(
            one_of("input_ids", input_ids, "inputs_embeds", inputs_embeds),
            attention_mask=attention_mask,
            checkpointing=self.checkpointing,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        return self.body.encode(input_ids, inputs_embeds, context), recorded(context)

    def run_both(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        decoder_input_ids: torch.Tensor | None,
        decoder_inputs_embeds: torch.Tensor | None,
        *,
        attention_mask: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_states: torch.Tensor | None = None,
        cache: Cache | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor, ModelOutput]:
        """Run the encoder, where it need be, and the decoder.

        Args:
            input_ids (Tensor): [b, k], the source; not needed with `encoder_states`, nor with a
                cache that has been used.
            inputs_embeds (Tensor): [b, k, d], in place of input_ids.
            decoder_input_ids (Tensor): [b, s], the target.
            decoder_inputs_embeds (Tensor): [b, s, d], in place of decoder_input_ids. As for the
                encoder, they are taken as they are: a family that scales its table does not scale
                them.
            attention_mask (Tensor): [b, k], 1 for a token of the source, 0 for padding.
            decoder_attention_mask (Tensor): [b, cached + s], the same of the target.
            encoder_states (Tensor): [b, k, d], from `encode`.
            cache: of the decoder; also keeps what its layers made of the encoder's states.
            output_hidden_states: return them, of both parts.
            output_attentions: return attention weights, of both parts and between them.

        Returns:
            the decoder's states [b, s, d], and an output with what else was asked for

        Raises:
            ModelError: inputs that do not fit together, or are longer than the positions that the
                family has.
        """
        tokens = one_of(
            "decoder_input_ids", decoder_input_ids, "decoder_inputs_embeds", decoder_inputs_embeds
        )
        encoded = ModelOutput()
        known = () if cache is None else cache.source
        if encoder_states is None and not known:
            encoder_states, encoded = self.run_encoder(
                input_ids,
                inputs_embeds,
                attention_mask,
                output_hidden_states=output_hidden_states,
                output_attentions=output_attentions,
            )
        batch, length = tokens.shape[:2]
        if known:
            rows, places = known[0].shape[0], known[0].shape[2]
        else:
            assert encoder_states is not None
            rows, places = encoder_states.shape[:2]
        if rows != batch:
            raise ModelError(f"the source has {rows} rows, but the target has {batch}")
        hidden = attention_mask if has_padding(attention_mask, batch, places) else None
        context = begin(
            tokens,
            attention_mask=decoder_attention_mask,
            cache=cache,
            checkpointing=self.checkpointing,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        context.memory = Memory(encoder_states, cross_mask(hidden, length))
        context.cross_attentions = [] if output_attentions else None
        x = self.body.decode(decoder_input_ids, decoder_inputs_embeds, context)
        if cache is not None:
            cache.advance(length)
        output = recorded(context)
        output.encoder_last_hidden_state = encoder_states
        output.encoder_hidden_states = encoded.hidden_states
        output.encoder_attentions = encoded.attentions
        return x, output


def one_of(
    name: str, first: torch.Tensor | None, other: str, second: torch.Tensor | None
) -> torch.Tensor:
    """The one of two inputs that is given.

    Raises:
        ModelError: both or neither are.
    """
    given = [part for part in (first, second) if part is not None]
    if len(given) != 1:
        raise ModelError(f"give exactly one of {name} and {other}")
    return given[0]
