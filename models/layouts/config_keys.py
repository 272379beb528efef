"""The keys of a quantization_config: read, without a word on what is stored, or named in a note.

The layouts read what changes the meaning of stored values, and refuse by name what they do not
have. Beside that a config says how its weights were found and how other programs are to run them:
those keys are listed here, so that one which nobody knows is not passed over in silence.

Source: transformers 5.23, `utils/quantization_config.py`; GPTQModel 5, `quantization/config.py`;
AutoAWQ 0.2.9, `models/_config.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EVERYWHERE = ("quant_method", "meta", "quantizer", "dequantize", "_commit_hash")
"""`dequantize` asks transformers to do it at load; the other ones say who made it."""

READ: dict[str, tuple[str, ...]] = {
    "gptq": (
        *("bits", "group_size", "sym", "desc_act", "checkpoint_format", "format", "dynamic"),
        *("modules_in_block_to_quantize", "lm_head", "pack_dtype", "is_marlin_format"),
    ),
    "awq": (
        *("bits", "w_bit", "group_size", "q_group_size", "zero_point", "version", "format"),
        *("backend", "modules_to_not_convert"),
    ),
    "hqq": ("quant_config", "skip_modules"),
    "bitsandbytes": (
        *("load_in_4bit", "load_in_8bit", "_load_in_4bit", "_load_in_8bit"),
        *("llm_int8_threshold", "llm_int8_skip_modules", "llm_int8_has_fp16_weight"),
        *("llm_int8_enable_fp32_cpu_offload", "bnb_4bit_compute_dtype", "bnb_4bit_quant_type"),
        *("bnb_4bit_use_double_quant", "bnb_4bit_quant_storage"),
    ),
    "quanto": ("weights", "activations", "modules_to_not_convert", "quantization_map"),
    "eetq": ("weights", "modules_to_not_convert"),
    "aqlm": (
        *("in_group_size", "out_group_size", "num_codebooks", "nbits_per_codebook"),
        "linear_weights_not_to_quantize",
    ),
    "torchao": ("quant_type", "modules_to_not_convert", "include_input_output_embeddings"),
    "compressed-tensors": (
        *("config_groups", "format", "quantization_status", "kv_cache_scheme", "ignore"),
        *("global_compression_ratio", "sparsity_config", "transform_config"),
        "moe_sparsity_config",
    ),
    "auto-round": (
        *("packing_format", "bits", "group_size", "sym", "data_type", "extra_config"),
        *("block_name_to_quantize", "quant_block_list", "rotation_config", "rotation_configs"),
        *("act_bits", "act_data_type", "act_dynamic", "act_group_size", "act_sym"),
        *("static_kv_dtype", "static_kv_granularity"),
    ),
    "fp8": ("weight_block_size", "activation_scheme"),
    "fbgemm_fp8": ("activation_scale_ub",),
    "mxfp4": (),
}
"""quant_method -> the keys that are read, refused, kept or said aloud."""

_GPTQ = (
    *("tokenizer", "dataset", "damp_percent", "damp_auto_increment", "act_group_aware"),
    *("true_sequential", "static_groups", "model_seqlen", "block_name_to_quantize"),
    *("module_name_preceding_first_block", "batch_size", "pad_token_id", "max_input_length"),
    *("cache_block_outputs", "mse", "use_exllama", "disable_exllama"),
    *("exllama_config", "use_cuda_fp16", "model_name_or_path", "model_file_base_name"),
)
SAID: dict[str, tuple[str, ...]] = {
    "gptq": (*_GPTQ, "backend"),
    # transformers' AwqConfig has the keys of its GPTQConfig too.
    "awq": (
        *(*_GPTQ, "desc_act", "sym", "modules_in_block_to_quantize", "checkpoint_format"),
        *("do_fuse", "modules_to_fuse", "fuse_max_seq_len"),
    ),
    "auto-round": (
        *("autoround_version", "amp", "batch_size", "dataset", "enable_minmax_tuning"),
        *("enable_norm_bias_tuning", "enable_quanted_input", "gradient_accumulate_steps", "iters"),
        *("low_gpu_mem_usage", "nsamples", "scale_dtype", "seqlen", "lr", "minmax_lr", "backend"),
        *("supported_types", "static_attention_dtype", "static_attention_granularity"),
    ),
    "torchao": ("untie_embedding_weights",),
    "compressed-tensors": ("version", "run_compressed", "use_optimized_inference"),
    # Which tensors are dense is told by their types.
    "fp8": (
        *("modules_to_not_convert", "modules_to_convert", "ignored_layers", "fmt"),
        *("scale_fmt", "expert_dtype"),
    ),
    "fbgemm_fp8": ("modules_to_not_convert",),
    "mxfp4": ("modules_to_not_convert",),
}
"""quant_method -> keys that say how weights were found, or how other programs run them."""


def key_notes(config: Mapping[str, Any]) -> list[str]:
    """What to say of the keys of a config.json's quantization_config that are not followed.

    Of methods that are not known nothing is said: they are refused where their weights are needed.
    """
    said = config.get("quantization_config")
    method = said.get("quant_method") if isinstance(said, Mapping) else None
    if not isinstance(said, Mapping) or not isinstance(method, str) or method not in READ:
        return []
    known = {*READ[method], *SAID.get(method, ()), *_EVERYWHERE}
    odd = [str(key) for key in said if key not in known]
    notes = [f"quantization_config: no key of {method} is called {', '.join(odd)}"] if odd else []
    return notes + [f"quantization_config.{note}" for note in _not_followed(method, said, config)]


def _not_followed(method: str, said: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Keys that are known, and change what other programs compute beside the weights."""
    if method == "compressed-tensors" and said.get("kv_cache_scheme") is not None:
        return ["kv_cache_scheme is not followed: the cache holds keys and values as they are"]
    if method == "auto-round" and said.get("static_kv_dtype") is not None:
        return ["static_kv_dtype is not followed: the cache holds keys and values as they are"]
    if method == "bitsandbytes" and said.get("load_in_4bit") and "bnb_4bit_compute_dtype" in said:
        asked, own = said["bnb_4bit_compute_dtype"], config.get("dtype", config.get("torch_dtype"))
        if str(asked).removeprefix("torch.") != str(own).removeprefix("torch."):
            return [f"bnb_4bit_compute_dtype: {asked} is not followed: products are in the model's"]
    rounds = {"fp8": "activation_scheme", "fbgemm_fp8": "activation_scale_ub"}
    if said.get(rounds.get(method, "")) is not None:
        return [f"{rounds[method]} is not followed: inputs are not rounded to 8 bits"]
    return []
