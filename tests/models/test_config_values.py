"""Values of configs against the types of their fields. This file's annotations are types and no
texts: it does without `from __future__ import annotations`, as a user's family may."""

import dataclasses
from typing import Any, ClassVar, List, Literal, Optional, Union  # noqa: UP035

import pytest

from tfcli.models.config_values import field_types
from tfcli.models.configs.llama import LlamaConfig
from tfcli.models.errors import ModelError
from tfcli.models.registry import FAMILIES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    rows: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnConfig(LlamaConfig):
    """Each kind of type that a field may have."""

    model_type: ClassVar[str] = "own"
    count: int = 1
    scale: float = 1.0
    maybe: Optional[int] = None  # noqa: UP045
    either: Union[int, str] = 0  # noqa: UP007
    modern: int | None = None
    names: list[str] = dataclasses.field(default_factory=list)
    older: List[int] = dataclasses.field(default_factory=list)  # noqa: UP006
    pair: tuple[int, int] = (1, 1)
    many: tuple[int, ...] = ()
    kind: Literal["wide", "deep"] = "wide"
    rows: list[list[int]] = dataclasses.field(default_factory=list)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    anything: Any = None
    sizes: Sizes | None = None


def own(**values):
    return OwnConfig.from_dict({"hidden_size": 16, "num_attention_heads": 2, **values})


@pytest.mark.parametrize(
    "values",
    [
        {"maybe": 3},
        {"either": "a"},
        {"modern": None},
        {"scale": 2},
        {"names": ["a"], "older": [1]},
        {"pair": [2, 3]},
        {"many": [1, 2, 3]},
        {"kind": "deep"},
        {"rows": [[1], []]},
        {"options": {"a": [1, None]}},
        {"anything": {"a": 1}},
        {"sizes": Sizes(rows=2)},
    ],
)
def test_values_that_fit(values):
    config = own(**values)
    for name, value in values.items():
        assert getattr(config, name) == value


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"count": "3"}, "count must be int, not '3'"),
        ({"count": True}, "count must be int, not True"),
        ({"scale": float("nan")}, "scale must be float, not nan"),
        ({"maybe": "x"}, "maybe must be int or None, not 'x'"),
        ({"either": None}, "either must be int or str, not None"),
        ({"modern": 1.5}, "modern must be int or None, not 1.5"),
        ({"names": [1]}, "an entry of names must be str, not 1"),
        ({"older": ["a"]}, "an entry of older must be int, not 'a'"),
        ({"pair": [1, 2, 3]}, r"pair must be a list of 2, not \[1, 2, 3\]"),
        ({"pair": [1, "a"]}, "an entry of pair must be int, not 'a'"),
        ({"many": [1.5]}, "an entry of many must be int, not 1.5"),
        ({"kind": "long"}, "kind must be 'wide' or 'deep', not 'long'"),
        ({"rows": [[1], ["a"]]}, "an entry of rows must be int, not 'a'"),
        ({"options": []}, r"options must be dict, not \[\]"),
        ({"sizes": {"rows": 2}}, "sizes must be Sizes or None, not {'rows': 2}"),
    ],
)
def test_values_that_do_not(values, says):
    with pytest.raises(ModelError, match=says):
        own(**values)


def test_a_number_that_is_too_large_for_any_size_is_found_by_its_type():
    with pytest.raises(ModelError, match="modern is 1,000,000,000,000,000"):
        own(modern=10**15)


def test_a_type_that_no_value_is_checked_for_is_refused():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Odd(LlamaConfig):
        model_type: ClassVar[str] = "odd"
        seen: list[set[int]] = dataclasses.field(default_factory=list)

    with pytest.raises(ModelError, match="the field seen has the type set") as raised:
        Odd.from_dict({})
    assert raised.value.where == "Odd"


def test_a_name_that_its_module_lacks_is_refused():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Lost(LlamaConfig):
        model_type: ClassVar[str] = "lost"
        sizes: "Nowhere | None" = None  # noqa: F821

    with pytest.raises(ModelError, match="name 'Nowhere' is not defined"):
        Lost.from_dict({})


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_family_s_types_are_known(model_type):
    assert field_types(FAMILIES[model_type].config_class())
