"""Meta's own files of Llama 3.2 Vision: the language model in them.

Blocks that see text and blocks that look at the image are two lists there, and one in Hugging Face,
where the config says which of them look at the image. The embedding of the image's tokens is a
tensor of its own. Only queries and keys of the text's blocks have rotary positions.

Source: https://github.com/meta-llama/llama-models, `models/llama3/multimodal/model.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.rules import Facts, Rule
from tfcli.checkpoints.dialect.steps import Fuse, Rotary
from tfcli.checkpoints.hf.source import TensorSource
from tfcli.checkpoints.io.dtypes import TORCH_NAMES
from tfcli.errors import WorkError

_ADDED = 8  # rows of the second embedding, whatever the model's size
_NAMES = "language_model.model."
_COMMON = {
    "feed_forward.w1.weight": "mlp.gate_proj.weight",
    "feed_forward.w2.weight": "mlp.down_proj.weight",
    "feed_forward.w3.weight": "mlp.up_proj.weight",
    "attention_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}
_TEXT = _COMMON | {
    "attention.wv.weight": "self_attn.v_proj.weight",
    "attention.wo.weight": "self_attn.o_proj.weight",
}
_IMAGE = _COMMON | {
    **{f"attention.w{part}.weight": f"cross_attn.{part}_proj.weight" for part in "qkvo"},
    "attention.q_norm.weight": "cross_attn.q_norm.weight",
    "attention.k_norm.weight": "cross_attn.k_norm.weight",
    "gate_attn": "cross_attn_attn_gate",
    "gate_ffwd": "cross_attn_mlp_gate",
}


def _facts(config: Mapping[str, Any]) -> Facts:
    """The config is that of the whole model, or of its language model alone."""
    text = config.get("text_config", config)
    try:
        heads, width = text["num_attention_heads"], text["hidden_size"]
        images = sorted(text["cross_attention_layers"])
        layers = range(text["num_hidden_layers"])
        sizes = {"head_dim": width // heads, "vocab": text["vocab_size"], "added": _ADDED}
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise WorkError(
            f"the sizes of the language model are incomplete: {error}", where="config.json"
        ) from error
    return Facts(sizes, {"text": [n for n in layers if n not in images], "image": images})


MLLAMA_TEXT = Dialect(
    "mllama_text",
    ("text_model.tok_embeddings.weight", "text_model.cross_attention_layers.0.gate_attn"),
    (
        Rule(
            ("text_model.tok_embeddings.weight", "text_model.learnable_embedding.weight"),
            f"{_NAMES}embed_tokens.weight",
            (Fuse(0, ("vocab", "added")),),
        ),
        *(
            Rule(
                f"text_model.layers.{{text}}.attention.w{part}.weight",
                f"{_NAMES}layers.{{text}}.self_attn.{part}_proj.weight",
                (Rotary("head_dim"),),
            )
            for part in "qk"
        ),
        *(
            Rule(f"text_model.layers.{{text}}.{stored}", f"{_NAMES}layers.{{text}}.{name}")
            for stored, name in _TEXT.items()
        ),
        *(
            Rule(
                f"text_model.cross_attention_layers.{{image}}.{stored}",
                f"{_NAMES}layers.{{image}}.{name}",
            )
            for stored, name in _IMAGE.items()
        ),
        Rule("text_model.norm.weight", f"{_NAMES}norm.weight"),
        Rule("text_model.output.weight", "language_model.lm_head.weight"),
    ),
    _facts,
    {
        r"text_model\.rope\.freqs": "rotary frequencies, computed from the config",
        r"vision_model\..*": "the part that sees images: the language model alone is converted",
    },
)


def config_of(params: Mapping[str, Any], source: TensorSource, *, where: str) -> dict[str, Any]:
    """config.json of the language model alone, for the content of params.json.

    Args:
        params: as read.
        source: the weights: some sizes are theirs.
        where: the file, for errors.

    Raises:
        WorkError: a key that is missing or is no number.
    """
    from tfcli.checkpoints.meta.params import config_of as config_of_llama
    from tfcli.checkpoints.meta.params import read_params

    text = {key: value for key, value in params.items() if not key.startswith("vision_")}
    sizes = read_params(text, where=where)
    count = params.get("vision_num_cross_attention_layers")
    if type(count) is not int or not 0 < count <= sizes.n_layers:
        raise WorkError(
            f"vision_num_cross_attention_layers: {count!r:.40} for {sizes.n_layers} layers",
            where=where,
        )
    # Counted from the last block in equal steps; each comes before the block that it is counted at.
    step = math.ceil(sizes.n_layers / count)
    before = sorted(range(sizes.n_layers - 1, -1, -step)[:count])
    embedding = source.info("text_model.tok_embeddings.weight")
    config = config_of_llama(
        sizes,
        vocab=embedding.shape[0],
        ffn=source.info("text_model.layers.0.feed_forward.w1.weight").shape[0],
        dtype=TORCH_NAMES[embedding.dtype],
        tied=False,
    )
    del config["head_dim"]
    return config | {
        "architectures": ["MllamaForCausalLM"],
        "model_type": "mllama_text_model",
        "num_hidden_layers": sizes.n_layers + count,
        "cross_attention_layers": [block + place for place, block in enumerate(before)],
        "pad_token_id": config["bos_token_id"] + 4,
    }
