"""A look at a decoder's tensor names that spares the import of its classes.

Which tensors are tied and which are no parameters is known to the model's classes, and torch comes
with them: a second, where the headers of a folder of any size take a tenth of one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from tfcli.errors import ModelError

_BUILT_IN = "tfcli.models."
_KINDS = ("decoder", "recurrent")
# What a head that may share the token table is called in checkpoints.
_HEADS = ("lm_head.weight", "embed_out.weight")
# Masks that old checkpoints hold have names as biases have, of a module that has none.
_PARAMETER = re.compile(r"(?:.*[.])?(?:weight|(?<!attn\.)(?<!attention\.)bias)")
# What predicts further tokens (ERNIE's beside the layers), and what reads images: no part of a
# decoder.
_BESIDE = re.compile(r"mtp[.]|.*\bmtp_|model[.]visual[.]")
_LAYER = re.compile(r"\d+")


def are_plain(config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether none of a checkpoint's names can be a tied one beside its partner, or no parameter.

    True is certain. False says nothing: then the classes are to be asked.

    Args:
        config: the content of config.json.
        names: of the stored tensors.
    """
    from tfcli.models.registry import FAMILIES, read_config

    family = FAMILIES.get(str(config.get("model_type")))
    if family is None or family.kind not in _KINDS:
        return False
    # Families of users may have any ties.
    if not isinstance(family.backbone, str) or not family.backbone.startswith(_BUILT_IN):
        return False
    try:
        parsed = read_config(config).text
    except ModelError:
        return False
    if parsed.tie_word_embeddings and any(name.endswith(_HEADS) for name in names):
        return False
    layers = parsed.num_hidden_layers
    return all(
        _PARAMETER.fullmatch(name)
        and not _BESIDE.match(name)
        and all(int(n) < layers for n in _LAYER.findall(name)[:1])
        for name in names
    )


def is_plain_decoder(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether tensors are, name by name and shape by shape, those of a decoder as Llama is built.

    True is certain. False says nothing: then the model's own classes are to be asked.

    Args:
        config: the content of config.json.
        shapes: of the stored tensors.
    """
    from tfcli.models.registry import FAMILIES, read_config

    family = FAMILIES.get(str(config.get("model_type")))
    if family is None or family.model_type not in ("llama", "mistral", "qwen2", "qwen3"):
        return False
    try:
        parsed: Any = read_config(config)
        task = family.task_of(parsed.architectures)
    except ModelError:
        return False
    odd = [getattr(parsed, key, False) for key in ("attention_bias", "mlp_bias", "quantization")]
    if task != "causal-lm" or any(odd):
        return False
    size, inner, head = parsed.hidden_size, parsed.intermediate_size, parsed.head_dim
    queries, keys = parsed.num_attention_heads * head, parsed.num_key_value_heads * head
    linears: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (queries, size),
        "self_attn.k_proj": (keys, size),
        "self_attn.v_proj": (keys, size),
        "self_attn.o_proj": (size, queries),
        "mlp.gate_proj": (inner, size),
        "mlp.up_proj": (inner, size),
        "mlp.down_proj": (size, inner),
    }
    block = {f"{name}.weight": shape for name, shape in linears.items()}
    block |= {f"{name}.weight": (size,) for name in ("input_layernorm", "post_attention_layernorm")}
    if family.model_type == "qwen2":
        block |= {f"self_attn.{n}_proj.bias": (queries if n == "q" else keys,) for n in "qkv"}
    if family.model_type == "qwen3":
        block |= {f"self_attn.{n}_norm.weight": (head,) for n in "qk"}
    layers = range(parsed.num_hidden_layers)
    wanted: dict[str, tuple[int, ...]]
    wanted = {f"model.layers.{n}.{name}": shape for n in layers for name, shape in block.items()}
    wanted |= {"model.embed_tokens.weight": (parsed.vocab_size, size), "model.norm.weight": (size,)}
    if not parsed.tie_word_embeddings:
        wanted["lm_head.weight"] = (parsed.vocab_size, size)
    return wanted == shapes
