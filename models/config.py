"""What every family's config shares: reading and writing config.json, refusing what is not built.

Nothing here imports torch, so that recipes can be checked in milliseconds.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from tfcli.models.config_values import (
    WHERE,
    check_type,
    check_values,
    decode_floats,
    encode_floats,
    field_types,
)
from tfcli.models.errors import ModelError, hint
from tfcli.models.limits import LIMIT, MAX_LABELS, MAX_LAYERS

ACTIVATIONS = (
    "gelu",
    "gelu_fast",
    "gelu_new",
    "gelu_pytorch_tanh",
    "quick_gelu",
    "relu",
    "relu2",
    "sigmoid",
    "silu",
    "swish",
    "tanh",
)
PROBLEM_TYPES = (
    "regression",
    "single_label_classification",
    "multi_label_classification",
)
DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The numbers that define a model. Field names and defaults are those of Hugging Face.

    A family's config lists its own fields after these and checks them in `check`. Keys that no
    field claims are kept in `extra` and written back by `to_dict`.

    Class attributes:
        model_type: the name in config.json.
        aliases: file spelling -> field, where the family spells a common field in its own way
            (gpt2's `n_embd` is `hidden_size`). Both are read, the file spelling is written.
        fixed: keys of config.json that change the computation in a way that is not built, with
            the values under which they change nothing.
    """

    model_type: ClassVar[str]
    aliases: ClassVar[dict[str, str]] = {}
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {}

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    architectures: list[str] | None = None
    dtype: str | None = None
    id2label: dict[str, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None
    classifier_dropout: float | None = None
    quantization: dict[str, Any] | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def num_key_value_heads(self) -> int:
        """Heads of keys and values. Families with grouped queries have a field instead."""
        return self.num_attention_heads

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def longest_input(self) -> int:
        """How many tokens the model can take at once: more than it was trained with, where its
        positions have no limit or are stretched for it."""
        rope = self._rope
        kind, factor = rope.get("rope_type"), rope.get("factor", 1.0)
        trained = self.max_position_embeddings
        if kind in ("linear", "dynamic"):
            return min(LIMIT, max(trained, int(trained * factor)))
        if kind == "yarn":
            original = rope.get("original_max_position_embeddings", trained)
            return min(LIMIT, max(trained, int(original * factor)))
        return trained

    @property
    def trained_length(self) -> int:
        """How many tokens the config names: what a length is by default."""
        return min(self.longest_input, self.max_position_embeddings)

    @property
    def rotation_switch(self) -> int | None:
        """The length past which all positions are turned otherwise, earlier ones too."""
        rope = self._rope
        if rope.get("rope_type") != "longrope":
            return None
        length: int = rope["original_max_position_embeddings"]
        return length

    @property
    def _rope(self) -> Mapping[str, Any]:
        """The rotary settings, where all layers share them."""
        rope = getattr(self, "rope_parameters", None)
        return rope if isinstance(rope, Mapping) else {}

    @property
    def longest_text(self) -> int:
        """How many tokens a text may have that is read and written with a cache."""
        return self.longest_input

    @property
    def both_ways(self) -> bool:
        """Whether a decoder's tokens see those after them; then it makes vectors and no text."""
        return False

    @property
    def cached_layers(self) -> int:
        """How many layers a cache has; one that looks at an encoder's states counts twice."""
        return self.num_hidden_layers

    @property
    def cached_per_position(self) -> int:
        """Numbers that a position adds to one layer's cache."""
        return 2 * self.num_key_value_heads * self.head_dim

    @property
    def token_id_limit(self) -> int:
        """Ids from here on have no embedding row."""
        return self.vocab_size

    @property
    def num_labels(self) -> int:
        """How many outputs a classifier has: two unless config.json names them."""
        return len(self.id2label) if self.id2label else 2

    @property
    def head_dropout(self) -> float:
        """Dropout before a classifier's last linear."""
        return 0.1 if self.classifier_dropout is None else self.classifier_dropout

    def window(self, layer: int) -> int | None:
        """How many keys a query of this layer sees, itself among them; None: all before it."""
        return None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Read the content of a config.json.

        Raises:
            ModelError: a value of the wrong type, or one that this family does not build.
        """
        check_values(content)
        data: dict[str, Any] = decode_floats(copy.deepcopy(dict(content)))
        data.pop("model_type", None)
        cls._refuse_fixed(data)
        torch_dtype = data.pop("torch_dtype", None)  # the spelling before transformers 5
        data.setdefault("dtype", torch_dtype)
        if isinstance(data["dtype"], str):
            data["dtype"] = data["dtype"].removeprefix("torch.")
        if data["dtype"] == "auto":
            data["dtype"] = None
        data["quantization"] = data.pop("quantization_config", None)
        for spelling, field in cls.aliases.items():
            if spelling in data:
                value = data.pop(spelling)
                require(data.get(field, value) == value, spelling, f"and {field} differ")
                data[field] = value
        read_labels(data)
        data = cls.read_keys(data)
        values = {f.name: data.pop(f.name) for f in _own_fields(cls) if f.name in data}
        missing = [cls.spelling(f.name) for f in _own_fields(cls) if _required(f, values)]
        if missing:
            raise ModelError(f"the config lacks {', '.join(missing)}", where=WHERE)
        return cls(**values, extra=data)

    @classmethod
    def read_keys(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Turn older or split spellings in `data` into this family's fields."""
        return data

    def to_dict(self) -> dict[str, Any]:
        """The content of config.json: loads in transformers 5, keeps the keys other tools read."""
        out: dict[str, Any] = {"model_type": self.model_type}
        for field in _own_fields(type(self)):
            value = getattr(self, field.name)
            default_none = field.default is None
            if not (value is None and default_none):  # a default that is not None hides otherwise
                out[self.spelling(field.name)] = copy.deepcopy(value)
        quantization = out.pop("quantization", None)
        if quantization is not None:
            out["quantization_config"] = quantization
        if self.dtype is not None:
            out["torch_dtype"] = self.dtype  # vLLM, llama.cpp and transformers 4 read this one
        out = self.write_keys(out)
        whole: dict[str, Any] = encode_floats({**copy.deepcopy(self.extra), **out})
        return whole

    def write_keys(self, out: dict[str, Any]) -> dict[str, Any]:
        """The inverse of `read_keys`."""
        return out

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    @classmethod
    def spelling(cls, field: str) -> str:
        """How config.json spells a field."""
        return next((name for name, own in cls.aliases.items() if own == field), field)

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Every key that describes a new model of this family."""
        own = {cls.spelling(f.name) for f in _own_fields(cls)} | set(cls.aliases.values())
        return tuple(sorted({*own, "num_labels"} - {"quantization", "architectures"}))

    def __post_init__(self) -> None:
        types = _types(self)
        for field in _own_fields(type(self)):
            check_type(self.spelling(field.name), getattr(self, field.name), types[field.name])
        self.complete()
        self.check()

    def complete(self) -> None:
        """Fill in fields whose default follows from others."""

    def check(self) -> None:
        """Refuse values that contradict each other. Families add their own checks."""
        for name in ("vocab_size", "hidden_size", "num_attention_heads", "max_position_embeddings"):
            require(getattr(self, name) >= 1, self.spelling(name), "must be at least 1")
        types = _types(self)
        for field in _own_fields(type(self)):
            value = getattr(self, field.name)
            if isinstance(value, int) and types[field.name] in (int, int | None):
                key = self.spelling(field.name)
                require(value <= LIMIT, key, f"is {value:,}, more than {LIMIT:,}")
        require(self.num_hidden_layers >= 0, self.spelling("num_hidden_layers"), "is negative")
        require(
            self.num_hidden_layers <= MAX_LAYERS,
            self.spelling("num_hidden_layers"),
            f"is {self.num_hidden_layers:,}, more than {MAX_LAYERS:,}",
        )
        require(self.initializer_range >= 0, "initializer_range", "is negative")
        require(
            self.dtype is None or self.dtype in DTYPES,
            "dtype",
            f"is {self.dtype!r}; built are {', '.join(DTYPES)}",
        )
        require(
            self.problem_type in (*PROBLEM_TYPES, None),
            "problem_type",
            f"is {self.problem_type!r}; known: {', '.join(PROBLEM_TYPES)}",
        )
        require(0 <= (self.classifier_dropout or 0) < 1, "classifier_dropout", "must be in [0, 1)")
        if self.pad_token_id is not None:
            require(
                self.pad_token_id < self.vocab_size,
                "pad_token_id",
                f"is {self.pad_token_id}, but vocab_size is {self.vocab_size}",
            )

    @classmethod
    def _refuse_fixed(cls, data: Mapping[str, Any]) -> None:
        for key, allowed in cls.fixed.items():
            if key in data and data[key] not in allowed:
                raise ModelError(
                    f"{key}={data[key]!r} is not supported for {cls.model_type}",
                    where=f"{WHERE}, key {key}",
                    fix=f"supported: {', '.join(repr(value) for value in allowed)}",
                )


def read_labels(data: dict[str, Any]) -> None:
    """Bring the labels of a classifier into one spelling, in place.

    `num_labels` alone gives them names, as in transformers, and `id2label` gives `label2id`.

    Raises:
        ModelError: a count that is no count, or that differs from the names.
    """
    count, named = data.pop("num_labels", None), data.get("id2label")
    if count is not None:
        counts = isinstance(count, int) and not isinstance(count, bool)
        within = counts and 1 <= count <= MAX_LABELS
        require(within, "num_labels", f"must be from 1 to {MAX_LABELS:,}")
    if count is not None and not named:
        named = {i: f"LABEL_{i}" for i in range(count)}
    if not isinstance(named, dict):
        return
    data["id2label"] = {str(key): value for key, value in named.items()}
    if count is not None:
        require(count == len(named), "num_labels", f"is {count}, but id2label has {len(named)}")
    if not data.get("label2id"):
        counted = all(str(i).isdecimal() and len(str(i)) < 10 for i in named)
        require(counted, "id2label", "must count its labels from 0")
        plain = all(isinstance(label, (str, int, float)) for label in named.values())
        require(plain, "id2label", "must have a text for each label")
        data["label2id"] = {label: int(i) for i, label in named.items()}


def require(holds: bool, key: str, problem: str) -> None:
    """Raise a ModelError that names the config key unless `holds`."""
    if not holds:
        raise ModelError(f"{key} {problem}", where=f"{WHERE}, key {key}")


def require_divides(small: int, large: int, small_key: str, large_key: str) -> None:
    """Raise a ModelError unless the value of `large_key` is a multiple of `small_key`'s."""
    require(
        small >= 1 and large % small == 0,
        large_key,
        f"({large}) is not a multiple of {small_key} ({small})",
    )


def require_activation(name: str, key: str) -> None:
    """Raise a ModelError unless `name` is an activation that layers/activations.py has."""
    if name not in ACTIVATIONS:
        raise ModelError(
            f"{key}={name!r} is not an activation that is built",
            where=f"{WHERE}, key {key}",
            fix=hint(name, ACTIVATIONS),
        )


def config_from_recipe(data: Mapping[str, Any]) -> ModelConfig:
    """The config of a new model as a recipe describes it: strict where config.json is lenient.

    Args:
        data: `model_type` and the family's keys, as config.json spells them.

    Raises:
        ModelError: an unknown model_type or key (with the nearest known one), or a bad value.
    """
    from tfcli.models.registry import get_family  # the registry's configs import this module

    if "model_type" not in data:
        raise ModelError("model_type is missing", where="config", fix="for example: llama")
    family = get_family(str(data["model_type"]))
    config_class = family.config_class()
    known = (*config_class.keys(), "model_type")
    for key in data:
        if key not in known:
            raise ModelError(
                f"unknown key {key!r} for model_type {family.model_type}",
                where=f"config.{key}",
                fix=hint(key, known),
            )
    return config_class.from_dict(data)


def _own_fields(cls: type[ModelConfig]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if field.name != "extra"]


def _types(config: ModelConfig) -> dict[str, Any]:
    kind: Any = type(config)
    return field_types(kind)


def _required(field: dataclasses.Field[Any], values: Mapping[str, Any]) -> bool:
    plain = field.default is dataclasses.MISSING
    return plain and field.default_factory is dataclasses.MISSING and field.name not in values
