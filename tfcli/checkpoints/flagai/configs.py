"""FlagAI's config.json and the core's: which family it is, what its keys mean, and the way back.

FlagAI writes no model_type: the class that one calls says what a folder is. Here the keys say it
too, so that a folder that is opened as something else is refused. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tfcli.errors import UsageError, WorkError
from tfcli.models.configs.text import TextConfig
from tfcli.models.errors import hint
from tfcli.models.registry import get_family, read_config

# Keys that only configs of this kind have. The first kind of which all are there is it.
_SIGNS = {
    "t5": ("d_model", "d_kv"),
    "gpt2": ("n_embd", "n_head"),
    "glm": ("num_layers", "max_sequence_length"),
    "bert": ("hidden_act", "type_vocab_size"),
}
KINDS = tuple(_SIGNS)
# Keys of the interface itself, which say nothing about the shape.
OWN_KEYS = ("checkpoint_activations", "class_num", "output_predict")
# What FlagAI's classes read and HF's configs lack, with the values that change nothing.
_NEEDED: dict[str, dict[str, Any]] = {
    "glm": {
        "max_memory_length": 0,
        "checkpoint_activations": False,
        "checkpoint_num_layers": 1,
        "parallel_output": True,
        "relative_encoding": False,
        "output_predict": True,
        "spell_length": None,
        "spell_func": "lstm",
    },
    "bert": {},
    "gpt2": {"n_inner": None},
    "t5": {},
}
_HF_ONLY = ("model_type", "architectures", "dtype", "torch_dtype")


class Settings(Mapping[str, Any]):
    """The content of a config.json: `c["x"]`, `c.get("x")` and `c.x` are the same."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = dict(data)

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __getattr__(self, key: str) -> Any:
        # Copying makes an object without _data first, and asks it for __setstate__.
        if key.startswith("_") or key not in self._data:
            raise AttributeError(key)
        return self._data[key]


def kind_of(data: Mapping[str, Any], where: str | None = None) -> str:
    """What a config.json describes: one of `KINDS`.

    Raises:
        WorkError: none of them.
    """
    model_type = data.get("model_type")
    if model_type in KINDS:
        return str(model_type)
    if model_type is None:
        for kind, keys in _SIGNS.items():
            if all(key in data for key in keys):
                return kind
    what = "no kind of model can be told from its keys" if model_type is None else repr(model_type)
    raise WorkError(
        f"no config of FlagAI: {what}",
        where=where,
        fix=f"FlagAI's interface has {', '.join(KINDS)}; other checkpoints load without it",
    )


def is_flagai(data: Mapping[str, Any]) -> bool:
    """Whether a config.json is FlagAI's own: it has the keys of a kind and no model_type."""
    return "model_type" not in data and any(
        all(key in data for key in keys) for keys in _SIGNS.values()
    )


def to_core(data: Mapping[str, Any], kind: str) -> TextConfig:
    """The core's config for a config.json.

    One with a model_type is Hugging Face's and means what it means there. One without is FlagAI's:
    its classes set some numbers themselves, and so does this.

    Raises:
        ModelError: a value that is not built.
    """
    if "model_type" in data:
        out = {key: value for key, value in data.items() if key != "class_num"}
        if "class_num" in data and kind != "glm":
            out.update(_labels(data["class_num"]))
        elif "class_num" in data:
            out["class_num"] = data["class_num"]
        return read_config(out).text
    out = {**data, "model_type": kind}
    if kind == "bert":
        epsilon = out.pop("layernorm_epsilon", None)
        out["layer_norm_eps"] = epsilon or out.get("layer_norm_eps") or 1e-6
        out["intermediate_size"] = 4 * out.get("hidden_size", 768)
        out.setdefault("classifier_dropout", 0.0)
    if kind == "gpt2" and out.get("do_layer_norm_before") is False:
        raise WorkError(
            "do_layer_norm_before=False is not supported",
            where="config.json, key do_layer_norm_before",
            fix="only GPT-2 with norms before each layer is built",
        )
    if kind == "t5":
        out["tie_word_embeddings"] = False  # its head is always apart, and nothing is scaled
    if kind != "glm" and "class_num" in out:
        out.update(_labels(out.pop("class_num")))
    return read_config(out).text


def to_flagai(data: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """FlagAI's config.json for a Hugging Face one; the keys that FlagAI does not read stay.

    Raises:
        WorkError: FlagAI's class would compute something else.
    """
    config = to_core(data, kind)
    out = {key: value for key, value in config.to_dict().items() if key not in _HF_ONLY}
    if kind == "bert":
        _require_same(config, "intermediate_size", 4 * config.hidden_size)
    if kind == "gpt2":
        for key, value in (("layer_norm_epsilon", 1e-5), ("scale_attn_weights", True)):
            _require_same(config, key, value)
        _require_same(config, "scale_attn_by_inverse_layer_idx", False)
    if kind == "t5":
        _require_same(config, "scale_decoder_outputs", False)
        _require_same(config, "relative_attention_max_distance", 128)
    if config.id2label:
        out["class_num"] = config.num_labels
    return {**_NEEDED[kind], **out}


def check_overrides(overrides: Mapping[str, Any], data: Mapping[str, Any], kind: str) -> None:
    """Refuse a keyword that no config of this kind has.

    Raises:
        UsageError: names the keyword, and the nearest that there is.
    """
    known = {*get_family(kind).config_class().keys(), *data, *OWN_KEYS}
    for key in overrides:
        if key not in known:
            raise UsageError(
                f"{key} is no key of a {kind} config", fix=hint(key, sorted(known)), where=key
            )


def _labels(count: Any) -> dict[str, Any]:
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise WorkError(f"class_num is {count!r}, no number of classes", where="class_num")
    return {"num_labels": count, "id2label": None, "label2id": None}


def _require_same(config: TextConfig, key: str, value: Any) -> None:
    if getattr(config, key) != value:
        raise WorkError(
            f"FlagAI's class takes {key} to be {value!r}, here it is {getattr(config, key)!r}: "
            "it would compute something else",
            where=f"config.json, key {key}",
            fix="keep this checkpoint in the Hugging Face layout",
        )
