"""Files as the released models have them: read, built and written back, without weights."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers

from tfcli.models.loading import build
from tfcli.models.registry import read_config

pytestmark = pytest.mark.families

SIGLIP = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "model_type": "siglip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "patch_size": 14,
    "vision_use_head": False,
}
RELEASED: dict[str, dict[str, Any]] = {
    "LLaVA 1.6, 7 B on Mistral": {
        "architectures": ["LlavaNextForConditionalGeneration"],
        "ignore_index": -100,
        "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
        "image_token_index": 32000,
        "model_type": "llava_next",
        "text_config": {
            "intermediate_size": 14336,
            "max_position_embeddings": 32768,
            "model_type": "mistral",
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "vocab_size": 32064,
        },
        "torch_dtype": "float16",
        "use_image_newline_parameter": True,
        "vision_config": {
            "hidden_size": 1024,
            "image_size": 336,
            "intermediate_size": 4096,
            "model_type": "clip_vision_model",
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "patch_size": 14,
            "projection_dim": 768,
            "vocab_size": 32000,
        },
        "vocab_size": 32064,
    },
    "Gemma 3, 4 B": {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "boi_token_index": 255999,
        "eoi_token_index": 256000,
        "eos_token_id": [1, 106],
        "image_token_index": 262144,
        "mm_tokens_per_image": 256,
        "model_type": "gemma3",
        "text_config": {
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "model_type": "gemma3_text",
            "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "sliding_window": 1024,
        },
        "torch_dtype": "bfloat16",
        "vision_config": SIGLIP | {"image_size": 896},
    },
    "PaliGemma 2, 3 B": {
        "architectures": ["PaliGemmaForConditionalGeneration"],
        "bos_token_id": 2,
        "eos_token_id": 1,
        "hidden_size": 2304,
        "image_token_index": 257152,
        "model_type": "paligemma",
        "pad_token_id": 0,
        "projection_dim": 2304,
        "text_config": {
            "attn_logit_softcapping": 50.0,
            "eos_token_id": [1, 107],
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "model_type": "gemma2",
            "num_hidden_layers": 26,
            "num_image_tokens": 256,
            "vocab_size": 257216,
        },
        "torch_dtype": "bfloat16",
        "vision_config": SIGLIP | {"num_image_tokens": 256, "projection_dim": 2304},
    },
    "Qwen2-VL, 2 B": {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "hidden_size": 1536,
        "image_token_id": 151655,
        "intermediate_size": 8960,
        "max_window_layers": 28,
        "model_type": "qwen2_vl",
        "num_attention_heads": 12,
        "num_hidden_layers": 28,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "video_token_id": 151656,
        "vision_config": {
            "depth": 32,
            "embed_dim": 1280,
            "hidden_size": 1536,
            "in_chans": 3,
            "mlp_ratio": 4,
            "num_heads": 16,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2,
        },
        "vision_end_token_id": 151653,
        "vision_start_token_id": 151652,
        "vision_token_id": 151654,
        "vocab_size": 151936,
    },
}


@pytest.mark.parametrize("name", RELEASED)
def test_parameters_are_theirs_and_the_config_comes_back(name):
    content = RELEASED[name]
    config = read_config(content)
    (architecture,) = content["architectures"]
    their_class = getattr(transformers, architecture)
    with torch.device("meta"):
        theirs = their_class(their_class.config_class.from_dict(content))
    expected = {name: value.shape for name, value in theirs.named_parameters()}
    assert {name: value.shape for name, value in build(config).named_parameters()} == expected
    written = json.loads(json.dumps(config.to_dict()))
    assert read_config(written) == config
    again = their_class.config_class.from_dict(written).text_config.to_dict()
    kept = theirs.config.text_config.to_dict()
    shared = kept.keys() & again.keys() - {"dtype"}
    assert {key: again[key] for key in shared} == {key: kept[key] for key in shared}
    assert kept.keys() - again.keys() <= {"hidden_act"}  # which Gemma 2 spells hidden_activation
