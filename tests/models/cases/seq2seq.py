"""Encoder-decoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.models.case import Case

_LM = ("seq2seq-lm",)
_BART_TASKS = (*_LM, "sequence-classification", "question-answering", "embedding")
_T5_TASKS = (*_BART_TASKS, "token-classification")


@dataclass(frozen=True)
class Seq2SeqCase(Case):
    """One tiny config of an encoder-decoder.

    Args:
        parts: the language-model head gets a table of its own, where the config says that it
            shares one: so transformers 5 describes T5 v1.1.
        whole: theirs makes a target from labels, takes embeddings, has a causal mask while it has
            a cache, and trains no computed positions.
    """

    tasks: tuple[str, ...] = _LM
    parts: bool = False
    whole: bool = True


_T5 = {
    "vocab_size": 61,
    "d_model": 32,
    "d_kv": 6,  # heads need not fill the width
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "decoder_start_token_id": 0,
}
_BART = {
    "vocab_size": 61,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 24,
    "init_std": 0.2,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 3,
    "forced_eos_token_id": None,
}


_T5GEMMA = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 24,
    "sliding_window": 5,
    "query_pre_attn_scalar": 8,
    "initializer_range": 0.2,
    "pad_token_id": 1,
    "bos_token_id": 3,
    "eos_token_id": 2,
}


def _t5(
    name: str, config: str = "T5", tasks: tuple[str, ...] = _LM, *, parts: bool = False, **more: Any
) -> Seq2SeqCase:
    # Neither their fused kernels nor ours on a GPU take a bias; on a CPU ours do.
    return Seq2SeqCase(name, f"{config}Config", _T5 | more, tasks, parts=parts)


def _bart(name: str, config: str, tasks: tuple[str, ...] = _LM, **more: Any) -> Seq2SeqCase:
    return Seq2SeqCase(name, f"{config}Config", _BART | more, tasks)


def _t5gemma(name: str, decoder: dict[str, Any], **more: Any) -> Seq2SeqCase:
    # Theirs has no fused attention for capped scores, and flash has none of ours.
    stacks = {"encoder": _T5GEMMA | more, "decoder": _T5GEMMA | more | decoder}
    settings = {"vocab_size": 61, **stacks}
    refuses = () if more else ("flash",)
    return Seq2SeqCase(name, "T5GemmaConfig", settings, attention="eager", refuses=refuses)


def _led(name: str, tasks: tuple[str, ...] = _LM, **more: Any) -> Seq2SeqCase:
    """Theirs gives the encoder's weights in another form."""
    positions = {"max_encoder_position_embeddings": 24, "max_decoder_position_embeddings": 20}
    settings = {key: _BART[key] for key in _BART if key != "max_position_embeddings"} | positions
    settings |= {"attention_window": 4} | more
    return Seq2SeqCase(name, "LEDConfig", settings, tasks, attention="eager", attends=False)


def _fsmt(name: str, **more: Any) -> Seq2SeqCase:
    settings = {key: _BART[key] for key in _BART if key != "vocab_size"} | {
        "src_vocab_size": 61,
        "tgt_vocab_size": 61,
        "use_cache": False,
    }
    return Seq2SeqCase(name, "FSMTConfig", settings | more, attention="eager", whole=False)


CASES = [
    _t5("t5", tasks=_T5_TASKS),
    _t5("t5-gated", feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    _t5("t5-v1.1", feed_forward_proj="gated-silu", tie_word_embeddings=False, parts=True),
    _t5("t5-symmetric", num_decoder_layers=None, layer_norm_epsilon=1e-3),
    _t5("t5-regression", tasks=("sequence-classification",), num_labels=1),
    _t5("mt5", "MT5", _T5_TASKS, parts=True),
    _t5("mt5-relu", "MT5", feed_forward_proj="relu", d_kv=8),
    _t5("umt5", "UMT5", _T5_TASKS, parts=True),
    _t5("umt5-relu", "UMT5", feed_forward_proj="relu", d_kv=8),
    _t5gemma("t5gemma", {}),
    _t5gemma(
        "t5gemma-unbalanced",
        {"hidden_size": 24, "num_hidden_layers": 3, "num_key_value_heads": 4, "head_dim": 8},
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
    ),
    _bart("bart", "Bart", _BART_TASKS),
    _bart("bart-scaled", "Bart", scale_embedding=True, activation_function="gelu_new"),
    _bart("bart-untied", "Bart", tie_word_embeddings=False),
    _bart(
        "bart-multi-label",
        "Bart",
        ("sequence-classification",),
        num_labels=5,
        problem_type="multi_label_classification",
    ),
    _bart("mbart", "MBart", _BART_TASKS),
    _bart("mbart-scaled", "MBart", scale_embedding=True, activation_function="relu"),
    _bart("pegasus", "Pegasus", (*_LM, "embedding")),
    _bart("pegasus-scaled", "Pegasus", scale_embedding=True, activation_function="relu"),
    _bart("marian", "Marian", (*_LM, "embedding")),
    _bart("marian-scaled", "Marian", scale_embedding=True, activation_function="swish"),
    _bart(
        "marian-two-vocabularies",
        "Marian",
        (*_LM, "embedding"),
        share_encoder_decoder_embeddings=False,
        decoder_vocab_size=53,
    ),
    _bart(
        "marian-untied",
        "Marian",
        share_encoder_decoder_embeddings=False,
        decoder_vocab_size=53,
        tie_word_embeddings=False,
    ),
    _bart("m2m-100", "M2M100", (*_LM, "embedding")),
    _bart("m2m-100-plain", "M2M100", scale_embedding=False, activation_function="gelu"),
    _led("led", (*_LM, "question-answering", "embedding")),
    _led("led-windows", attention_window=[4, 10], activation_function="relu"),
    _fsmt("fsmt"),
    _fsmt("fsmt-two-vocabularies", tgt_vocab_size=53),
    _fsmt("fsmt-tied", tie_word_embeddings=True, scale_embedding=False, activation_function="gelu"),
    _bart("blenderbot", "Blenderbot", (*_LM, "embedding")),
    _bart("blenderbot-scaled", "Blenderbot", scale_embedding=True, decoder_layers=1),
]
