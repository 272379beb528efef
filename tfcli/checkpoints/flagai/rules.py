"""FlagAI's names and layouts beside Hugging Face's, for GLM, BERT, GPT-2 and T5.

FlagAI reads Hugging Face's names and writes its own, so a folder may hold either, and which tensors
must be there its classes say: the rules are those of what differs. BERT differs most: one tensor
for queries, keys and values, and other names for heads. Source: the classes of FlagAI's
`bert_model.py`, `glm_model.py`, `gpt2_model.py` and `t5_model.py`, and `mp_tools.py` for what
model-parallel ranks hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tfcli.checkpoints.dialect.dialect import Dialect
from tfcli.checkpoints.dialect.rules import Cut, Facts, Rule
from tfcli.checkpoints.dialect.steps import Split
from tfcli.checkpoints.flagai.configs import to_core

TIES: dict[str, dict[str, str]] = {
    "bert": {"cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight"},
    "t5": {
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
    },
}
"""What FlagAI stores twice -> the tensor that it equals where Hugging Face's config ties it."""

ONCE: dict[str, dict[str, str]] = {
    "glm": {"lm_head.weight": "glm.word_embeddings.weight"},
    "bert": {"cls.predictions.bias": "cls.predictions.decoder.bias"},
    "gpt2": {"lm_head.weight": "transformer.wte.weight"},
}
"""What FlagAI does not store -> the tensor that it takes in its place."""

_UNUSED = {
    "glm": {r"(?:model\.)?prompt_spell\..*": "prompts that are spelt are not built"},
    "gpt2": {r"lm_head\.weight": "FlagAI takes the token table for it and never reads it"},
}
_WITHIN = (r"^model\.", "")  # FlagAI's task classes hold the body under this name
_BARE_QKV = r"^(?=encoder\.layer\.\d+\.attention\.self\.(?:query|key|value)\.)"
_SPELLINGS = {
    "bert": (_WITHIN, (_BARE_QKV, "bert.")),  # Hugging Face's names of a body that is stored alone
    "gpt2": (_WITHIN, (r"^(?=(?:wte|wpe|h|ln_f)\.)", "transformer.")),
}
_PREFIXES = {"glm": "glm.", "bert": "bert.", "gpt2": "transformer."}
_ROWS, _COLUMNS, _THIRDS = Cut(0), Cut(1), Cut(0, blocks=3)


def _module(name: str, cut: Cut | None = None) -> dict[str, Cut | None]:
    """A weight and a bias; of one whose columns are divided each rank has the whole bias."""
    return {f"{name}.weight": cut, f"{name}.bias": None if cut == _COLUMNS else cut}


_LAYER = "transformer.layers.{layer}."
_GLM: dict[str, Cut | None] = {
    "word_embeddings.weight": _ROWS,
    "transformer.position_embeddings.weight": None,
    "transformer.block_position_embeddings.weight": None,
    **_module(f"{_LAYER}input_layernorm"),
    **_module(f"{_LAYER}attention.query_key_value", _THIRDS),
    **_module(f"{_LAYER}attention.dense", _COLUMNS),
    **_module(f"{_LAYER}post_attention_layernorm"),
    **_module(f"{_LAYER}mlp.dense_h_to_4h", _ROWS),
    **_module(f"{_LAYER}mlp.dense_4h_to_h", _COLUMNS),
    **_module("transformer.final_layernorm"),
}
_H = "h.{layer}."
_GPT2: dict[str, Cut | None] = {  # linears are stored [in, out], as Hugging Face's are
    "wte.weight": _ROWS,
    "wpe.weight": None,
    **_module(f"{_H}ln_1"),
    **_module(f"{_H}attn.c_attn", _THIRDS),
    **_module(f"{_H}attn.c_proj", _COLUMNS),
    **_module(f"{_H}ln_2"),
    **_module(f"{_H}mlp.c_fc", _ROWS),
    **_module(f"{_H}mlp.c_proj", _COLUMNS),
    **_module("ln_f"),
}
_B = "encoder.layer.{layer}."
_BERT: dict[str, Cut | None] = {
    "embeddings.word_embeddings.weight": None,
    "embeddings.position_embeddings.weight": None,
    "embeddings.token_type_embeddings.weight": None,
    **_module("embeddings.LayerNorm"),
    **_module(f"{_B}attention.output.dense"),
    **_module(f"{_B}attention.output.LayerNorm"),
    **_module(f"{_B}intermediate.dense"),
    **_module(f"{_B}output.dense"),
    **_module(f"{_B}output.LayerNorm"),
    **_module("pooler.dense"),
}
_BODIES = {"glm": _GLM, "bert": _BERT, "gpt2": _GPT2}
_HEADS = {"token-classification": "final_dense", "sequence-classification": "out_layer"}


def dialect(kind: str, task: str = "", *, nested: bool = False, own: bool = True) -> Dialect:
    """The dialect of a kind of model.

    Args:
        kind: one of `configs.KINDS`.
        task: whose head there is.
        nested: FlagAI's class holds the body under a name of its own; of files that are read, their
            names say it.
        own: the files are FlagAI's own, so that what FlagAI never reads is left out.
    """
    prefix = _PREFIXES.get(kind, "")
    at = ("model." if nested else "") + (prefix if kind == "gpt2" else "")
    rules = [Rule(at + name, prefix + name, cut=cut) for name, cut in _BODIES.get(kind, {}).items()]
    if kind == "bert":
        rules += _joined(at) + _head(task)
    return Dialect(
        f"FlagAI's {kind}",
        (),
        tuple(rules),
        partial(_facts, kind=kind),
        _UNUSED.get(kind, {}) if own else {},
        _SPELLINGS.get(kind, (_WITHIN,)),
        prefix=prefix,
        whole=False,
    )


def _facts(config: Mapping[str, Any], kind: str) -> Facts:
    core = to_core(config, kind)
    return Facts({"hidden": core.hidden_size}, {"layer": range(core.num_hidden_layers)})


def _joined(at: str) -> list[Rule]:
    name, parts = f"{_B}attention.self.", ("query", "key", "value")
    return [
        Rule(
            f"{at}{name}query_key_value.{leaf}",
            tuple(f"bert.{name}{part}.{leaf}" for part in parts),
            (Split(0, ("hidden", "hidden", "hidden")),),
        )
        for leaf in ("weight", "bias")
    ]


def _head(task: str) -> list[Rule]:
    own = _HEADS.get(task)
    names = _module("classifier") if own else {}
    return [Rule(name.replace("classifier", str(own)), name) for name in names]
