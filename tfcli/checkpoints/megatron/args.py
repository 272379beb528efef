"""The `args` of a Megatron-LM checkpoint: what its loader takes a model's shape from.

Megatron compares the sizes with its own command line, or takes them all with
`--use-checkpoint-args`. It does not take `norm_epsilon` and the scaling of Llama 3.1's positions
(`use_rope_scaling`, `rope_scaling_factor`): these stay for the command line to say.

Source: https://github.com/NVIDIA/Megatron-LM, `megatron/training/checkpointing.py`
(`load_args_from_checkpoint`, `check_checkpoint_args`) and `tools/checkpoint/loader_base.py`.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from tfcli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from tfcli.models.configs.gpt2 import GPT2Config
    from tfcli.models.configs.llama import LlamaConfig
    from tfcli.models.configs.text import TextConfig

DIVISIBLE_BY = 128
"""The vocabulary of each part is filled up to a multiple of this, as Megatron does by itself."""
_WRITTEN = "gpt2 and llama are written"
# What Megatron's positions of Llama 3.1 are computed with, whatever its command line says.
_LLAMA3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def padded_rows(vocab: int, parts: int) -> int:
    """Rows of the embedding in all parts together."""
    multiple = DIVISIBLE_BY * parts
    return -(-vocab // multiple) * multiple


def text_config(content: Mapping[str, Any]) -> TextConfig:
    """The config of a model of nothing but text, from config.json's content.

    Raises:
        UsageError: one of images or sound too, whose text would be written alone.
    """
    from tfcli.models.configs.text import TextConfig
    from tfcli.models.registry import read_config

    config = read_config(content)
    if not isinstance(config, TextConfig):
        _refuse("model_type", f"is {config.model_type}; {_WRITTEN}")
    return config


def model_arguments(config: TextConfig) -> dict[str, Any]:
    """The arguments that say what a model is.

    Raises:
        UsageError: a family or setting that Megatron has no argument for; names it.
    """
    from tfcli.models.configs.gpt2 import GPT2Config
    from tfcli.models.configs.llama import LlamaConfig

    if isinstance(config, GPT2Config) and config.model_type == "gpt2":
        own = _gpt2(config)
    elif isinstance(config, LlamaConfig) and config.model_type == "llama":
        own = _llama(config)
    else:
        _refuse("model_type", f"is {config.model_type}; {_WRITTEN}")
    return {
        "num_layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_attention_heads,
        "max_position_embeddings": config.max_position_embeddings,
        "seq_length": config.max_position_embeddings,
        "vocab_size": config.vocab_size,
        "add_position_embedding": True,
        "apply_layernorm_1p": False,
        "apply_query_key_layer_scaling": False,
        "squared_relu": False,
        **own,
    }


def file_arguments(config: TextConfig, parts: int, dtype: torch.dtype, tied: bool) -> Namespace:
    """All arguments, for a checkpoint in `parts` files.

    Args:
        config: of the model.
        parts: of tensor parallelism.
        dtype: of most of the weights.
        tied: there is no output layer of its own.

    Raises:
        UsageError: as `model_arguments`.
    """
    name = str(dtype).removeprefix("torch.")
    return Namespace(
        **model_arguments(config),
        untie_embeddings_and_output_weights=not tied,
        make_vocab_size_divisible_by=DIVISIBLE_BY,
        padded_vocab_size=padded_rows(config.vocab_size, parts),
        tensor_model_parallel_size=parts,
        pipeline_model_parallel_size=1,
        sequence_parallel=False,
        params_dtype=dtype,
        fp16=name == "float16",
        bf16=name == "bfloat16",
        tokenizer_type="HuggingFaceTokenizer",
        transformer_impl="transformer_engine",
        ckpt_format="torch",
        consumed_train_samples=0,
        consumed_valid_samples=0,
    )


def _gpt2(config: GPT2Config) -> dict[str, Any]:
    if not config.activation_function.startswith("gelu"):
        _refuse("activation_function", f"is {config.activation_function}; Megatron's is gelu")
    for key, value in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False)):
        if getattr(config, key) != value:
            _refuse(key, f"is {not value}; Megatron scales scores by the size of a head alone")
    return {
        "ffn_hidden_size": config.intermediate_size,
        "group_query_attention": False,
        "num_query_groups": config.num_attention_heads,
        "kv_channels": config.head_dim,
        "position_embedding_type": "learned_absolute",
        "use_rotary_position_embeddings": False,
        "normalization": "LayerNorm",
        "norm_epsilon": config.layer_norm_epsilon,
        "add_bias_linear": True,
        "add_qkv_bias": True,
        "swiglu": False,
        "attention_dropout": config.attn_pdrop,
        "hidden_dropout": config.resid_pdrop,
    }


def _llama(config: LlamaConfig) -> dict[str, Any]:
    for key in ("attention_bias", "mlp_bias"):
        if getattr(config, key):
            _refuse(key, "is set; Llama's layers in Megatron have no biases")
    if config.hidden_act != "silu":
        _refuse("hidden_act", f"is {config.hidden_act}; Megatron's Llama uses silu")
    rope = dict(config.rope_parameters)
    theta, kind, factor = rope.pop("rope_theta"), rope.pop("rope_type"), rope.pop("factor", None)
    if kind not in ("default", "llama3") or rope != ({} if kind == "default" else _LLAMA3):
        _refuse("rope_parameters", "are neither plain nor those of Llama 3.1")
    return {
        "ffn_hidden_size": config.intermediate_size,
        "group_query_attention": config.num_key_value_heads != config.num_attention_heads,
        "num_query_groups": config.num_key_value_heads,
        "kv_channels": config.head_dim,
        "position_embedding_type": "rope",
        "use_rotary_position_embeddings": True,
        "rotary_base": int(theta) if theta == int(theta) else theta,
        "rotary_percent": 1.0,
        "rotary_interleaved": False,
        "use_rope_scaling": kind == "llama3",
        **({"rope_scaling_factor": factor} if kind == "llama3" else {}),
        "normalization": "RMSNorm",
        "norm_epsilon": config.rms_norm_eps,
        "add_bias_linear": False,
        "add_qkv_bias": False,
        "swiglu": True,
        "attention_dropout": config.attention_dropout,
        "hidden_dropout": 0.0,
    }


def _refuse(key: str, what: str) -> NoReturn:
    raise UsageError(f"{key} {what}", where="config.json", fix="keep the Hugging Face format")
