"""Language modelling from one text to another: logits for the next token of the target."""

from __future__ import annotations

import torch

from tfcli.models.cache import Cache
from tfcli.models.config import ModelConfig
from tfcli.models.heads.seq2seq import Seq2Seq
from tfcli.models.heads.words import answer_words
from tfcli.models.layers.linear import linear
from tfcli.models.losses import last_positions
from tfcli.models.output import ModelOutput

BIAS = "final_logits_bias"


class Seq2SeqLM(Seq2Seq):
    """An encoder-decoder and `lm_head`."""

    task = "seq2seq-lm"

    def add_head(self, config: ModelConfig) -> None:
        rows, width = self.body.get_parameter("decoder.embed_tokens.weight").shape
        self.lm_head = linear(width, rows, bias=False)
        if self.body_class.logits_bias:
            self.register_buffer(BIAS, torch.zeros(1, rows))

    def default(self, name: str) -> torch.Tensor | None:
        if name == BIAS:
            return torch.zeros(self.get_buffer(BIAS).shape)
        return super().default(name)

    @classmethod
    def ties(cls) -> dict[str, str]:
        return {**super().ties(), "lm_head.weight": f"{cls.base()}.{cls.body_class.tokens}.weight"}

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_states: torch.Tensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_target_tokens: int | torch.Tensor | None = None,
        logits_to_keep: int = 0,
        return_logits: bool = True,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> ModelOutput:
        """Predict the next token of the target at each of its positions.

        Args:
            labels (Tensor): [b, s], the target itself, with -100 where nothing is to be learned.
                Without decoder inputs, the decoder sees it shifted right by one place.
            num_target_tokens: divides the summed loss; see `losses.token_loss`.
            logits_to_keep: give logits of this many last positions only; 0 gives all.
            return_logits: without, the output has `last_hidden_state` in their place, for
                `logits_of`, and the loss is computed without having all logits in memory.

        The others are those of `Seq2Seq.run_both`.

        Returns:
            logits [b, s, vocab], or None without `return_logits`, and what was asked for

        Raises:
            ModelError: see `Seq2Seq.run_both`.
        """
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.body.shifted(labels)
        x, output = self.run_both(
            input_ids,
            inputs_embeds,
            decoder_input_ids,
            decoder_inputs_embeds,
            attention_mask=attention_mask,
            decoder_attention_mask=decoder_attention_mask,
            encoder_states=encoder_states,
            cache=cache,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        x = last_positions(x, logits_to_keep, labels)
        return answer_words(self, output, x, labels, num_target_tokens, return_logits=return_logits)

    def logits_of(self, states: torch.Tensor) -> torch.Tensor:
        logits = self.lm_head(self.body.before_logits(states))
        if self.body_class.logits_bias:
            logits = logits + self.get_buffer(BIAS).to(states.dtype)
        return logits
