"""What the heads of encoder-decoders share: running the two parts, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from tfcli.models.cache import Cache, make_cache
from tfcli.models.config import BaseConfig
from tfcli.models.context import Memory
from tfcli.models.encoder_decoder import EncoderDecoder
from tfcli.models.errors import ModelError
from tfcli.models.layers.masks import cross_mask, has_padding
from tfcli.models.model import Model, recorded
from tfcli.models.output import ModelOutput


class Seq2Seq(Model):
    """An encoder-decoder with a head.

    `forward` takes the encoder's inputs by their names, and further keywords:
        decoder_input_ids (Tensor): [b, s], the target.
        decoder_inputs_embeds (Tensor): [b, s, d], in place of decoder_input_ids. As for the
            encoder, they are taken as they are: a family that scales its table does not scale
            them, but for T5Gemma.
        decoder_attention_mask (Tensor): [b, cached + s], 1 for a token of the target.
        encoder_states (Tensor): [b, k, d], from `encode`, in place of the encoder's inputs.
        cache: of the decoder; also keeps what its layers made of the encoder's states. With one
            that has been used the encoder's inputs are not needed.

    Class attributes:
        stacks: which of the two the task needs.
    """

    body_class: ClassVar[type[EncoderDecoder[Any]]]
    stacks: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    takes: ClassVar[tuple[str, ...]] = ("output_hidden_states", "output_attentions")
    keywords: ClassVar[tuple[str, ...]] = (
        *Model.keywords,
        "attention_mask",
        "decoder_input_ids",
        "decoder_inputs_embeds",
        "decoder_attention_mask",
        "encoder_states",
        "cache",
    )

    @classmethod
    def possible_ties(cls, config: BaseConfig) -> dict[str, str]:
        base, shares = cls.base(), cls.body_class.shares
        return {f"{base}.{n}": f"{base}.{shares[n]}" for n in shares if n.startswith(cls.stacks)}

    @classmethod
    def ties_of(cls, config: BaseConfig) -> dict[str, str]:
        return cls.body_class.tied(config, cls.possible_ties(config))

    @property
    def body(self) -> EncoderDecoder[Any]:
        """The backbone."""
        body: EncoderDecoder[Any] = getattr(self, self.base())
        return body

    def make_cache(
        self, kind: str = "dynamic", length: int | None = None, **settings: Any
    ) -> Cache:
        """An empty cache for the decoder; see `cache.make_cache`."""
        return make_cache(self.body.decoder, kind, length, **settings)

    def encode(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **inputs: Any,
    ) -> torch.Tensor:
        """The encoder's states, to be given to `forward` as `encoder_states`.

        Args:
            input_ids (Tensor): [b, k], of families that read tokens.
            attention_mask (Tensor): [b, k], 1 for a token, 0 for padding on either side.
            inputs: the encoder's other inputs.

        Returns:
            [b, k, d], after the final norm
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask, **inputs}
        return self.run_encoder(given)[0]

    def run_encoder(self, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, ModelOutput]:
        """Run the encoder: its states [b, k, d], and an output with what was asked for."""
        others = {n: v for n, v in inputs.items() if n not in (*self.takes, *self.keywords)}
        options = {name: inputs[name] for name in self.takes if name in inputs}
        x, context = self.body.encoder.begin(
            others,
            attention_mask=inputs.get("attention_mask"),
            checkpointing=self.checkpointing,
            **options,
        )
        return self.body.encoder(x, context), recorded(context)

    def run(self, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, ModelOutput]:
        """Run the encoder, where it need be, and the decoder; see `Model.run`."""
        cache: Cache | None = inputs.get("cache")
        target, embeds = inputs.get("decoder_input_ids"), inputs.get("decoder_inputs_embeds")
        tokens = one_of("decoder_input_ids", target, "decoder_inputs_embeds", embeds)
        states: torch.Tensor | None = inputs.get("encoder_states")
        encoded = ModelOutput()
        known = () if cache is None else cache.source
        if states is None and not known:
            states, encoded = self.run_encoder(inputs)
        batch, length = tokens.shape[:2]
        if known:
            rows, places = known[0].shape[0], known[0].shape[2]
        else:
            assert states is not None
            rows, places = states.shape[:2]
        if rows != batch:
            raise ModelError(f"the source has {rows} rows, but the target has {batch}")
        source_mask = self.body.states_mask(inputs.get("attention_mask"), states, inputs)
        hidden = source_mask if has_padding(source_mask, batch, places) else None
        options = {name: inputs[name] for name in self.takes if name in inputs}
        x, context = self.body.decoder.begin(
            {"input_ids": target, "inputs_embeds": embeds},
            attention_mask=inputs.get("decoder_attention_mask"),
            cache=cache,
            checkpointing=self.checkpointing,
            **options,
        )
        context.memory = Memory(states, cross_mask(hidden, length))
        context.cross_attentions = [] if inputs.get("output_attentions") else None
        x = self.body.decoder(x, context)
        if cache is not None:
            cache.advance(length)
        output = recorded(context)
        output.encoder_last_hidden_state = states
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
