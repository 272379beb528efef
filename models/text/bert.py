"""BERT (Devlin et al. 2018): post-norm encoder with learned positions and segments.

Reference: transformers `modeling_bert.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from tfcli.models.blocks.encoder import EncoderBlock
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.configs.bert import BertConfig
from tfcli.models.heads import classification_loss, token_loss
from tfcli.models.layers.activations import activation
from tfcli.models.layers.embeddings import Embedding, check_length, embed_inputs
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import full_mask, has_padding, position_ids_of
from tfcli.models.layers.norms import layer_norm
from tfcli.models.model import Model
from tfcli.models.output import ModelOutput
from tfcli.models.rules import OldName


class BertEmbeddings(nn.Module):
    """Word, position and segment embeddings, summed and normalised."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = Embedding(config.vocab_size, size, config.pad_token_id)
        self.position_embeddings = Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = Embedding(config.type_vocab_size, size)
        self.LayerNorm = layer_norm(size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, words: torch.Tensor, position_ids: torch.Tensor, segment_ids: torch.Tensor
    ) -> torch.Tensor:
        """words (Tensor): [b, s, d], the ids: [b or 1, s] -> [b, s, d]"""
        x = words + self.token_type_embeddings(segment_ids) + self.position_embeddings(position_ids)
        return self.dropout(self.LayerNorm(x))


class BertEncoder(nn.Module):
    """The blocks."""

    def __init__(self, config: BertConfig, attention: str) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            EncoderBlock(
                config.hidden_size,
                config.num_attention_heads,
                config.intermediate_size,
                act=config.hidden_act,
                dropout=config.hidden_dropout_prob,
                attention_dropout=config.attention_probs_dropout_prob,
                eps=config.layer_norm_eps,
                backend=attention,
            )
            for _ in range(config.num_hidden_layers)
        )


class BertPooler(nn.Module):
    """The state of each row's first token, through a linear and tanh."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size, bias=True)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """x (Tensor): [b, s, d], attention_mask (Tensor): [b, s] of 0/1 -> [b, d]"""
        if attention_mask is None:
            return torch.tanh(self.dense(x[:, 0]))
        first = attention_mask.long().argmax(-1)  # not 0 where the padding is on the left
        return torch.tanh(self.dense(x[torch.arange(x.shape[0], device=x.device), first]))


class BertModel(nn.Module):
    """Embeddings, blocks and, for classifiers, the pooler."""

    def __init__(self, config: BertConfig, attention: str, pooler: bool) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config, attention)
        self.pooler = BertPooler(config) if pooler else None

    def forward(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        token_type_ids: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor | None,
        output_hidden_states: bool,
        output_attentions: bool,
        checkpointing: bool,
    ) -> tuple[torch.Tensor, ModelOutput]:
        """Encode an input.

        Args:
            input_ids (Tensor): [b, s]
            attention_mask (Tensor): [b, s], 1 for a token, 0 for padding on either side.
            token_type_ids (Tensor): [b, s], the segment of each token; 0 by default.
            position_ids (Tensor): [b or 1, s]; by default counted from each row's first token.
            inputs_embeds (Tensor): [b, s, d], in place of input_ids.
            output_hidden_states: return them.
            output_attentions: return attention weights, which forgoes the fused backends.
            checkpointing: compute blocks again in the backward pass.

        Returns:
            the last hidden state [b, s, d], and an output with what else was asked for

        Raises:
            ModelError: inputs that do not fit together, or are too long.
        """
        words = embed_inputs(self.embeddings.word_embeddings, input_ids, inputs_embeds)
        batch, length = words.shape[:2]
        check_length(length, self.embeddings.position_embeddings.num_embeddings)
        padding = attention_mask if has_padding(attention_mask, batch, length) else None
        if position_ids is None:
            position_ids = position_ids_of(padding, length, 0, words.device)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(position_ids)
        hidden_states: list[torch.Tensor] | None = [] if output_hidden_states else None
        attentions: list[torch.Tensor] | None = [] if output_attentions else None
        x = run_blocks(
            self.encoder.layer,
            self.embeddings(words, position_ids, token_type_ids),
            full_mask(padding, length),
            attentions,
            checkpointing=checkpointing and torch.is_grad_enabled(),
            hidden_states=hidden_states,
        )
        return x, ModelOutput(
            hidden_states=None if hidden_states is None else (*hidden_states, x),
            attentions=None if attentions is None else tuple(attentions),
        )


class BertPredictions(nn.Module):
    """The masked-language-model head: transform, then one score for each word."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertTransform(config)
        self.decoder = linear(config.hidden_size, config.vocab_size, bias=True)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))  # tied to the decoder's

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, vocab]"""
        return self.decoder(self.transform(x))


class BertTransform(nn.Module):
    """Linear, activation, norm."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = linear(config.hidden_size, config.hidden_size, bias=True)
        self.act = activation(config.hidden_act)
        self.LayerNorm = layer_norm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.LayerNorm(self.act(self.dense(x)))


class BertHeadModel(Model):
    """What the heads share. Arguments as in `build`."""

    config: BertConfig
    pooled: ClassVar[bool] = False
    base = "bert"
    rules = (
        OldName(r"LayerNorm\.gamma$", "LayerNorm.weight"),
        OldName(r"LayerNorm\.beta$", "LayerNorm.bias"),
    )
    calibration = CalibrationWalk(
        blocks="bert.encoder.layer",
        groups=(
            ("attention.self.query", "attention.self.key", "attention.self.value"),
            ("attention.output.dense",),
            ("intermediate.dense",),
            ("output.dense",),
        ),
    )

    def __init__(self, config: BertConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.bert = BertModel(config, attention, pooler=self.pooled)


class BertForMaskedLM(BertHeadModel):
    """BERT that predicts masked words. Arguments as in `build`."""

    task = "masked-lm"
    ties: ClassVar[dict[str, str]] = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    ignorable: ClassVar[dict[str, str]] = {
        r"embeddings\.position_ids$": "counted, not stored",
        r"^(bert\.)?pooler\.": "the masked-lm head has no pooler",
        r"^cls\.seq_relationship\.": "the next-sentence head is not part of masked-lm",
    }
    new_head = ("cls.",)

    def __init__(self, config: BertConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        self.cls = nn.ModuleDict({"predictions": BertPredictions(config)})
        self.tie_weights()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_target_tokens: int | torch.Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> ModelOutput:
        """Score every word at each position.

        Args:
            labels (Tensor): [b, s], the word at masked positions and -100 elsewhere.
            num_target_tokens: divides the summed loss; see `heads.token_loss`.

        The others are those of `BertModel.forward`. Returns logits [b, s, vocab].
        """
        x, output = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            output_hidden_states,
            output_attentions,
            self.checkpointing,
        )
        output.logits = self.cls["predictions"](x)
        if labels is not None:
            output.loss = token_loss(output.logits, labels, num_target_tokens)
        return output


class BertForSequenceClassification(BertHeadModel):
    """BERT that gives a whole input labels or a number. Arguments as in `build`."""

    task = "sequence-classification"
    pooled = True
    ignorable: ClassVar[dict[str, str]] = {
        r"embeddings\.position_ids$": "counted, not stored",
        r"^cls\.": "the pretraining heads are not part of a classifier",
    }
    new_head = ("classifier.", "bert.pooler.")

    def __init__(self, config: BertConfig, attention: str = "sdpa") -> None:
        super().__init__(config, attention)
        dropout = config.classifier_dropout
        self.dropout = nn.Dropout(config.hidden_dropout_prob if dropout is None else dropout)
        self.classifier = linear(config.hidden_size, config.num_labels, bias=True)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> ModelOutput:
        """Score each label: logits [b, labels].

        `labels` are those of `heads.classification_loss`, the rest those of `BertModel.forward`.
        """
        x, output = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            output_hidden_states,
            output_attentions,
            self.checkpointing,
        )
        assert self.bert.pooler is not None
        output.logits = self.classifier(self.dropout(self.bert.pooler(x, attention_mask)))
        if labels is not None:
            output.loss = classification_loss(output.logits, labels, self.config.problem_type)
        return output
