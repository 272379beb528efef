"""T5 (Raffel et al. 2020), T5 v1.1, mT5 and UMT5: pre-norm encoder-decoder with relative positions.

Reference: transformers `modeling_t5.py`; names of modules and parameters are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from tfcli.models.backbone import Backbone
from tfcli.models.blocks.cross_decoder import Attention, CrossAttention, bounded
from tfcli.models.blocks.run import run_blocks
from tfcli.models.calibration import CalibrationWalk
from tfcli.models.config import BaseConfig
from tfcli.models.configs.t5 import T5LikeConfig
from tfcli.models.context import Context
from tfcli.models.encoder_decoder import EncoderDecoder
from tfcli.models.folding import Fold, after_norm
from tfcli.models.heads.embedding import Embedding as EmbeddingHead
from tfcli.models.heads.seq2seq_lm import Seq2SeqLM
from tfcli.models.heads.seq2seq_plain import EncoderHead, Seq2SeqClassification
from tfcli.models.heads.token_classification import TokenClassification
from tfcli.models.layers.activations import activation, is_homogeneous
from tfcli.models.layers.embeddings import Embedding, embed_inputs
from tfcli.models.layers.linear import linear
from tfcli.models.layers.masks import AttentionMask
from tfcli.models.layers.norms import RMSNormOfWeight
from tfcli.models.layers.relative_bias import RelativeBias


@dataclasses.dataclass
class SharedMask:
    """What a block with a table makes for those after it: the mask with its bias."""

    mask: AttentionMask | None = None


class T5SelfAttention(Attention):
    """Attention within a text. The first block, or each, has the table of the bias."""

    relative_attention_bias: RelativeBias | None

    def biased(self, context: Context, shared: SharedMask) -> AttentionMask:
        """The mask with its bias, made anew by each block that has a table."""
        if self.relative_attention_bias is not None:
            table, keys = self.relative_attention_bias, context.key_places(self.layer)
            if isinstance(context.past, torch.Tensor):
                bias = table.between(context.places, keys)
            else:
                bias = table(context.sight.queries, keys.shape[0])
            shared.mask = self.mask(context).with_bias(bias)
        assert shared.mask is not None
        return shared.mask


AnyAttention = TypeVar("AnyAttention", bound=Attention)


def make_attention(
    kind: type[AnyAttention], config: T5LikeConfig, layer: int, attention: str, *, causal: bool
) -> AnyAttention:
    """Attention with T5's sizes and names, without scale and biases."""
    return kind(
        config.hidden_size,
        config.num_attention_heads,
        config.head_dim,
        layer=layer,
        causal=causal,
        backend=attention,
        bias=False,
        scale=1.0,
        dropout=config.dropout_rate,
        names=("q", "k", "v", "o"),
    )


class T5MLP(nn.Module):
    """wo(act(wi(x))), or with a gate wo(act(wi_0(x)) * wi_1(x))."""

    def __init__(self, config: T5LikeConfig) -> None:
        super().__init__()
        names = ("wi_0", "wi_1") if config.is_gated_act else ("wi",)
        for name in names:
            self.add_module(name, linear(config.hidden_size, config.d_ff, bias=False))
        self.names = names
        self.wo = linear(config.d_ff, config.hidden_size, bias=False)
        self.act = activation(str(config.dense_act_fn))
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        first, *gated = (getattr(self, name)(x) for name in self.names)
        inner = self.act(first)
        inner = self.dropout(inner * gated[0] if gated else inner)
        weight = getattr(self.wo, "weight", None)
        if isinstance(weight, torch.Tensor):  # in fp32 among float16: its products are too large
            inner = inner.to(weight.dtype)
        return self.wo(inner)

    @property
    def reads(self) -> tuple[str, ...]:
        """See `folding`."""
        return self.names

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        if len(self.names) > 1 or is_homogeneous(self.act):
            yield Fold(self.names[-1], ("wo",))


class T5Part(nn.Module):
    """The norm before a part of a block, and what follows it."""

    def __init__(self, config: T5LikeConfig) -> None:
        super().__init__()
        self.layer_norm = RMSNormOfWeight(config.hidden_size, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def add(self, x: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        """x + dropout(added), both [b, s, d]"""
        return bounded(x + self.dropout(added))


class T5SelfPart(T5Part):
    """The part of a block that looks at its own text."""

    def __init__(self, config: T5LikeConfig, layer: int, attention: str, *, decoder: bool) -> None:
        super().__init__(config)
        own = make_attention(T5SelfAttention, config, layer, attention, causal=decoder)
        own.relative_attention_bias = None
        if layer == 0 or config.bias_in_each_layer:
            own.relative_attention_bias = RelativeBias(
                config.relative_attention_num_buckets,
                config.num_attention_heads,
                config.relative_attention_max_distance,
                bidirectional=not decoder,
            )
        self.SelfAttention = own

    def forward(self, x: torch.Tensor, context: Context, shared: SharedMask) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        mask = self.SelfAttention.biased(context, shared)
        return self.add(x, self.SelfAttention(self.layer_norm(x), context, mask))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("layer_norm", {"SelfAttention": self.SelfAttention})


class T5CrossPart(T5Part):
    """The part of a decoder's block that looks at the encoder's states."""

    def __init__(self, config: T5LikeConfig, layer: int, attention: str) -> None:
        super().__init__(config)
        self.EncDecAttention = make_attention(
            CrossAttention, config, layer, attention, causal=False
        )

    def forward(self, x: torch.Tensor, context: Context, shared: SharedMask) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.add(x, self.EncDecAttention(self.layer_norm(x), context))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("layer_norm", {"EncDecAttention": self.EncDecAttention})


class T5MLPPart(T5Part):
    """The mlp of a block."""

    def __init__(self, config: T5LikeConfig) -> None:
        super().__init__(config)
        self.DenseReluDense = T5MLP(config)

    def forward(self, x: torch.Tensor, context: Context, shared: SharedMask) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        return self.add(x, self.DenseReluDense(self.layer_norm(x)))

    def folds(self) -> Iterator[Fold]:
        """See `folding`."""
        yield from after_norm("layer_norm", {"DenseReluDense": self.DenseReluDense})


class T5Block(nn.Module):
    """One layer: attention, in a decoder also to the encoder's states, and the mlp."""

    def __init__(self, config: T5LikeConfig, layer: int, attention: str, *, decoder: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([T5SelfPart(config, layer, attention, decoder=decoder)])
        if decoder:
            self.layer.append(T5CrossPart(config, layer, attention))
        self.layer.append(T5MLPPart(config))

    def forward(self, x: torch.Tensor, context: Context, shared: SharedMask) -> torch.Tensor:
        """x (Tensor): [b, s, d] -> [b, s, d]"""
        for part in self.layer:
            x = part(x, context, shared)
        return x


class T5Stack(Backbone[T5LikeConfig]):
    """The encoder or the decoder."""

    def __init__(self, config: T5LikeConfig, attention: str, *, decoder: bool) -> None:
        super().__init__(config, attention)
        self.called = "decoder_input_ids" if decoder else "input_ids"
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        layers = config.num_decoder_layers if decoder else config.num_hidden_layers
        self.block = nn.ModuleList(
            T5Block(config, layer, attention, decoder=decoder) for layer in range(layers or 0)
        )
        self.final_layer_norm = RMSNormOfWeight(config.hidden_size, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.walk = _walk(config, decoder=decoder)

    def embed(self, **inputs: Any) -> torch.Tensor:
        return embed_inputs(self.embed_tokens, **inputs, where=self.called)

    def forward(self, x: torch.Tensor, context: Context) -> torch.Tensor:
        """x (Tensor): [b, s, d], the embeddings -> [b, s, d]; see `Backbone.forward`."""
        x = run_blocks(self.block, self.dropout(x), context, SharedMask())
        return context.finished(self.dropout(self.final_layer_norm(x)))


def _walk(config: T5LikeConfig, *, decoder: bool) -> CalibrationWalk:
    """The linears of a stack's blocks."""
    own, cross = "layer.0.SelfAttention", "layer.1.EncDecAttention"
    mlp = f"layer.{2 if decoder else 1}.DenseReluDense"
    groups = [tuple(f"{own}.{name}" for name in "qkv"), (f"{own}.o",)]
    if decoder:
        groups += [(f"{cross}.q",), (f"{cross}.k", f"{cross}.v"), (f"{cross}.o",)]
    inner = ("wi_0", "wi_1") if config.is_gated_act else ("wi",)
    groups += [tuple(f"{mlp}.{name}" for name in inner), (f"{mlp}.wo",)]
    return CalibrationWalk("block", tuple(groups))


class T5Model(EncoderDecoder[T5LikeConfig]):
    """A token table, an encoder and a decoder."""

    prefix = "transformer"
    bare = True
    lists = ("encoder.block", "decoder.block")
    ignorable: ClassVar[dict[str, str]] = {
        r"EncDecAttention\.relative_attention_bias\.weight$": "left over: it was never used",
    }

    def __init__(self, config: T5LikeConfig, attention: str) -> None:
        super().__init__(config, attention)
        self.scale = config.hidden_size**-0.5 if config.scales_states else 1.0
        self.deviations = _deviations(config)
        self.shared = Embedding(config.vocab_size, config.hidden_size)
        self.encoder = T5Stack(config, attention, decoder=False)
        self.decoder = T5Stack(config, attention, decoder=True)

    @classmethod
    def tied(cls, config: BaseConfig, ties: Mapping[str, str]) -> dict[str, str]:
        """Both stacks share the table in any case; the head only where the config says so."""
        head = config.tie_word_embeddings
        return {name: ties[name] for name in ties if head or not name.startswith("lm_head.")}

    def before_logits(self, x: torch.Tensor) -> torch.Tensor:
        """Scaled down, where the head shares the table: its rows are as large as states."""
        return x * self.scale

    def start_id(self) -> int:
        """T5 begins with padding, where its config names no other token."""
        start = getattr(self.config, "decoder_start_token_id", None)
        if start is None and self.config.pad_token_id is not None:
            return self.config.pad_token_id
        return super().start_id()

    def init_std(self, name: str) -> float:
        """Scaled so that scores, which have no scale of their own, start small."""
        return self.config.initializer_range * self.deviations.get(name.split(".")[-2], 1.0)

    def initial(self, name: str, shape: torch.Size) -> torch.Tensor | None:
        if name.endswith("layer_norm.weight"):
            return torch.full(shape, float(self.config.initializer_range))
        return None


def _deviations(config: T5LikeConfig) -> dict[str, float]:
    """The last part of a module's name -> standard deviation of its new values; others have 1."""
    size, inner = config.hidden_size, config.num_attention_heads * config.head_dim
    plain = ("k", "v", "wi", "wi_0", "wi_1", "relative_attention_bias")
    heads = ("dense", "out_proj", "qa_outputs")
    return {
        **dict.fromkeys((*plain, *heads), size**-0.5),
        "q": (size * config.head_dim) ** -0.5,
        "o": inner**-0.5,
        "wo": config.d_ff**-0.5,
    }


class T5ForConditionalGeneration(Seq2SeqLM):
    """The language model.

    transformers 5 writes `tie_word_embeddings: true` for every T5, also for those of version 1.1,
    whose heads have weights of their own. So a checkpoint that holds two different tables has two.
    """

    def may_untie(self, name: str) -> bool:
        return name == "lm_head.weight"


class T5ForSequenceClassification(Seq2SeqClassification):
    """See `Seq2SeqClassification`. Its checkpoints have the backbone's prefix."""

    @classmethod
    def bare(cls) -> bool:
        return False


class T5ForTokenClassification(EncoderHead, TokenClassification):
    """See `TokenClassification`; on the encoder. Its checkpoints have the backbone's prefix."""

    @classmethod
    def bare(cls) -> bool:
        return False


class T5EncoderModel(EncoderHead, EmbeddingHead):
    """The encoder's states, pooled; see `Embedding`."""
