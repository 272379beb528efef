"""What every family's config shares: reading and writing config.json, refusing what is not built.

Nothing here imports torch, so that recipes can be checked in milliseconds.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

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

if TYPE_CHECKING:
    from tfcli.models.configs.text import TextConfig

ACTIVATIONS = (
    "gelu",
    "gelu_10",
    "gelu_accurate",
    "gelu_fast",
    "gelu_new",
    "gelu_python",
    "gelu_python_tanh",
    "gelu_pytorch_tanh",
    "hardswish",
    "laplace",
    "leaky_relu",
    "linear",
    "mish",
    "quick_gelu",
    "relu",
    "relu2",
    "relu6",
    "sigmoid",
    "silu",
    "sqrtsoftplus",
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
class BaseConfig:
    """What the configs of every modality share. Field names and defaults are Hugging Face's.

    A family's config lists its own fields after these and checks them in `check`. Keys that no
    field claims are kept in `extra` and written back by `to_dict`.

    Class attributes:
        model_type: the name in config.json.
        aliases: file spelling -> field, where the family spells a common field in its own way
            (gpt2's `n_embd` is `hidden_size`). Both are read, the file spelling is written.
        fixed: keys of config.json that change the computation in a way that is not built, with
            the values under which they change nothing.
        nested: field -> the model_type of a config in it that names none. Such a field holds the
            config of a part; config.json has it as an object, which may leave out what is default.
    """

    model_type: ClassVar[str]
    aliases: ClassVar[dict[str, str]] = {}
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {}
    nested: ClassVar[dict[str, str]] = {}

    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    architectures: list[str] | None = None
    dtype: str | None = None
    id2label: dict[str, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None
    classifier_dropout: float | None = None
    quantization: dict[str, Any] | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def text(self) -> TextConfig:
        """The config of what reads and writes tokens: this one, or the one nested in it.

        Raises:
            ModelError: the model has no vocabulary.
        """
        nested = getattr(self, "text_config", None)
        if isinstance(nested, BaseConfig):
            return nested.text
        raise ModelError(
            f"{self.model_type} has no vocabulary: it neither reads nor writes text", where=WHERE
        )

    @property
    def has_text(self) -> bool:
        """Whether there is a `text` config."""
        return isinstance(getattr(self, "text_config", None), BaseConfig)

    def with_text(self, text: TextConfig) -> Self:
        """A copy with another one in place of `text`, at whatever depth that is."""
        nested: BaseConfig = getattr(self, "text_config", self)
        return self.replace(text_config=nested.with_text(text))

    @property
    def media_tokens(self) -> dict[str, int]:
        """Medium -> the id of the token that stands for its features, which may have no row."""
        return {}

    @property
    def width(self) -> int:
        """Size of the states that the family's body gives."""
        size: int = getattr(self, "hidden_size", 0) or self.text.hidden_size
        return size

    @property
    def num_labels(self) -> int:
        """How many outputs a classifier has: two unless config.json names them."""
        return len(self.id2label) if self.id2label else 2

    @property
    def label_names(self) -> list[str]:
        """The names of a classifier's outputs in their order; those that config.json does not name
        are LABEL_0 and so on."""
        names = self.id2label or {}
        return [str(names.get(str(number), f"LABEL_{number}")) for number in range(self.num_labels)]

    @property
    def head_dropout(self) -> float:
        """Dropout before a classifier's last linear."""
        return 0.1 if self.classifier_dropout is None else self.classifier_dropout

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
        for field, model_type in cls.nested.items():
            if field in data:
                data[field] = read_nested(field, data[field], model_type)
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
            if isinstance(value, BaseConfig):
                out[self.spelling(field.name)] = value.to_dict()
            elif not (value is None and default_none):  # a default that is not None hides otherwise
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
        types = _types(self)
        for field in _own_fields(type(self)):
            value, key = getattr(self, field.name), self.spelling(field.name)
            if isinstance(value, int) and types[field.name] in (int, int | None):
                require(value <= LIMIT, key, f"is {value:,}, more than {LIMIT:,}")
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

    def check_sizes(self, *names: str) -> None:
        """Refuse fields that count something and are below 1."""
        for name in names:
            require(getattr(self, name) >= 1, self.spelling(name), "must be at least 1")

    def check_layers(self, name: str = "num_hidden_layers") -> None:
        """Refuse a number of layers that no model has."""
        count = getattr(self, name)
        require(count >= 0, self.spelling(name), "is negative")
        require(count <= MAX_LAYERS, self.spelling(name), f"is {count:,}, more than {MAX_LAYERS:,}")

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


def read_nested(field: str, value: Any, model_type: str) -> BaseConfig:
    """The config of a part, from an object in config.json or as it is.

    Args:
        field: the key of the object.
        model_type: what it is where it does not say so.

    Raises:
        ModelError: no object, or a config that cannot be read; the key is named with its path.
    """
    from tfcli.models.registry import read_config  # the registry's configs import this module

    if isinstance(value, BaseConfig):
        return value
    content = {} if value is None else value
    require(isinstance(content, Mapping), field, f"must be an object, not {value!r}")
    with in_part(field):
        return read_config({"model_type": model_type, **content})


@contextmanager
def in_part(field: str) -> Iterator[None]:
    """Within the block, errors that name a key name it below the key of a part."""
    try:
        yield
    except ModelError as error:
        key = f"{WHERE}, key "
        where = error.where or WHERE
        inner = where.removeprefix(key) if where.startswith(key) else None
        where = f"{key}{field}" + ("" if inner is None else f".{inner}")
        raise type(error)(error.what, where=where, fix=error.fix, code=error.code) from error


def config_from_recipe(data: Mapping[str, Any]) -> BaseConfig:
    """The config of a new model as a recipe describes it: strict where config.json is lenient.

    Args:
        data: `model_type` and the family's keys, as config.json spells them.

    Raises:
        ModelError: an unknown model_type or key (with the nearest known one), or a bad value.
    """
    if "model_type" not in data:
        raise ModelError("model_type is missing", where="config", fix="for example: llama")
    return _known_keys_only(data, "config").from_dict(data)


def config_keys(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that the config of a recipe's model_type has; none where there is no such family."""
    from tfcli.models.registry import get_family

    try:
        return get_family(str(data.get("model_type"))).config_class().keys()
    except ModelError:
        return ()


def _known_keys_only(data: Mapping[str, Any], path: str) -> type[BaseConfig]:
    """The class of a recipe's config, all of whose keys it knows, those of parts too."""
    from tfcli.models.registry import get_family

    family = get_family(str(data["model_type"]))
    config_class = family.config_class()
    known = (*config_class.keys(), "model_type")
    for key, value in data.items():
        if key not in known:
            raise ModelError(
                f"unknown key {key!r} for model_type {family.model_type}",
                where=f"{path}.{key}",
                fix=hint(key, known),
            )
        if key in config_class.nested and isinstance(value, Mapping):
            _known_keys_only({"model_type": config_class.nested[key], **value}, f"{path}.{key}")
    return config_class


def _own_fields(cls: type[BaseConfig]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if field.name != "extra"]


def _types(config: BaseConfig) -> dict[str, Any]:
    kind: Any = type(config)
    return field_types(kind)


def _required(field: dataclasses.Field[Any], values: Mapping[str, Any]) -> bool:
    plain = field.default is dataclasses.MISSING
    return plain and field.default_factory is dataclasses.MISSING and field.name not in values
