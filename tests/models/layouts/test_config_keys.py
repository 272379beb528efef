"""No key of a quantization_config is passed over in silence."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from transformers.utils import quantization_config as theirs

from tfcli.models.errors import ModelError
from tfcli.models.layouts.config_keys import READ, SAID, key_notes
from tfcli.models.layouts.registry import METHODS, STANDING_FOR_OTHERS, layout_of

CLASSES = {
    "gptq": "GPTQConfig",
    "awq": "AwqConfig",
    "hqq": "HqqConfig",
    "bitsandbytes": "BitsAndBytesConfig",
    "quanto": "QuantoConfig",
    "eetq": "EetqConfig",
    "aqlm": "AqlmConfig",
    "torchao": "TorchAoConfig",
    "compressed-tensors": "CompressedTensorsConfig",
    "fp8": "FineGrainedFP8Config",
    "fbgemm_fp8": "FbgemmFp8Config",
    "mxfp4": "Mxfp4Config",
}
RENAMED = {"nbits", "group_size", "view_as_float", "axis", "dynamic_config"}
"""Arguments of HqqConfig, which stand in its quant_config."""


def notes(method: str, **said: Any) -> list[str]:
    config = {"dtype": "bfloat16", "quantization_config": {"quant_method": method, **said}}
    return key_notes(config)


def test_every_method_that_is_read_has_its_keys():
    dense = {"fp8", "fbgemm_fp8", "mxfp4"}
    assert set(READ) == {*METHODS, *STANDING_FOR_OTHERS, *dense} - {"mlx"}  # whose keys are modules
    assert not any(set(READ[method]) & set(SAID.get(method, ())) for method in READ)


@pytest.mark.parametrize("method", CLASSES)
def test_every_key_that_transformers_documents_is_known(method):
    asked = inspect.signature(getattr(theirs, CLASSES[method]).__init__).parameters
    keys = set(asked) - {"self", "kwargs"} - (RENAMED if method == "hqq" else set())
    odd = [note for note in notes(method, **dict.fromkeys(keys)) if "no key" in note]
    assert keys and not odd


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "quanto", "eetq", "aqlm"])
def test_and_every_key_that_it_writes(method):
    made = getattr(theirs, CLASSES[method])(**({"bits": 4} if method == "gptq" else {})).to_dict()
    assert not [note for note in notes(method, **made) if "no key" in note]


def test_a_key_that_nobody_knows_is_named():
    assert notes("gptq", bits=4, rotation="hadamard") == [
        "quantization_config: no key of gptq is called rotation"
    ]
    assert notes("another", anything=1) == []
    assert key_notes({}) == [] and key_notes({"quantization_config": "odd"}) == []


@pytest.mark.parametrize(
    ("method", "said", "key"),
    [
        ("compressed-tensors", {"kv_cache_scheme": {"num_bits": 8}}, "kv_cache_scheme"),
        ("bitsandbytes", {"bnb_4bit_compute_dtype": "float16"}, "bnb_4bit_compute_dtype: float16"),
        ("fp8", {"activation_scheme": "dynamic"}, "activation_scheme"),
        ("fbgemm_fp8", {"activation_scale_ub": 1200.0}, "activation_scale_ub"),
    ],
)
def test_what_is_not_followed_is_said(method, said, key):
    (note,) = notes(method, load_in_4bit=True, **said)[-1:]
    assert note.startswith(f"quantization_config.{key} is not followed: ")


def test_a_type_of_products_that_is_the_models_needs_no_word():
    assert not notes("bitsandbytes", load_in_4bit=True, bnb_4bit_compute_dtype="torch.bfloat16")
    assert not notes("bitsandbytes", load_in_8bit=True, bnb_4bit_compute_dtype="float32")


BNB = {"quant_method": "bitsandbytes"}
GROUP = {"targets": ["Linear"], "weights": {"num_bits": 8}}
TENSORS = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "config_groups": {"group_0": GROUP},
}
AQLM = {"quant_method": "aqlm"}


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (BNB | {"load_in_4bit": True, "load_in_8bit": True}, "both are true"),
        (BNB, "neither is true"),
        (BNB | {"load_in_8bit": True, "llm_int8_threshold": -1}, "llm_int8_threshold"),
        (BNB | {"load_in_8bit": True, "llm_int8_has_fp16_weight": True}, "has_fp16_weight"),
        (BNB | {"load_in_8bit": True, "llm_int8_skip_modules": "a"}, "llm_int8_skip_modules"),
        (BNB | {"load_in_8bit": True, "llm_int8_enable_fp32_cpu_offload": 2}, "cpu_offload"),
        (BNB | {"load_in_4bit": True, "bnb_4bit_compute_dtype": "int8"}, "compute_dtype"),
        (BNB | {"load_in_4bit": True, "bnb_4bit_quant_type": "nf3"}, "bnb_4bit_quant_type"),
        (BNB | {"load_in_4bit": True, "bnb_4bit_use_double_quant": 3}, "double_quant"),
        (BNB | {"load_in_4bit": True, "bnb_4bit_quant_storage": "int4"}, "quant_storage"),
        (TENSORS | {"sparsity_config": {"format": "sparse-bitmask"}}, "sparsity_config"),
        (TENSORS | {"kv_cache_scheme": 8}, "kv_cache_scheme"),
        (TENSORS | {"global_compression_ratio": "a"}, "global_compression_ratio"),
        (TENSORS | {"quantization_status": "initialized"}, "quantization_status"),
        (TENSORS | {"ignore": "lm_head"}, "ignore"),
        (TENSORS | {"format": "marlin-24"}, "format"),
        ({"quant_method": "quanto", "activations": "int8"}, "activations"),
        ({"quant_method": "quanto", "weights": "int3"}, "weights"),
        ({"quant_method": "eetq", "weights": "int4"}, "weights"),
        (AQLM | {"in_group_size": 0}, "in_group_size"),
        (AQLM | {"out_group_size": 0}, "out_group_size"),
        (AQLM | {"num_codebooks": 0}, "num_codebooks"),
        (AQLM | {"nbits_per_codebook": 17}, "nbits_per_codebook"),
        (AQLM | {"linear_weights_not_to_quantize": 1}, "linear_weights_not_to_quantize"),
        ({"quant_method": "awq", "version": "gemv"}, "version"),
        ({"quant_method": "awq", "bits": 8}, "bits"),
        ({"quant_method": "awq", "zero_point": 1.5}, "zero_point"),
        ({"quant_method": "awq", "modules_to_not_convert": "a"}, "modules_to_not_convert"),
        ({"quant_method": "gptq", "bits": 5}, "bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 0}, "group_size"),
        ({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}, "checkpoint_format"),
        ({"quant_method": "hqq", "quant_config": {}}, "quant_config"),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, "quant_type"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["quant_method"],
)
def test_a_value_that_is_not_there_is_refused_by_the_name_of_its_key(config, key):
    with pytest.raises(ModelError) as error:
        layout_of(config)
    assert key in str(error.value)
