"""Keys that have an effect beside certain others only, other names of keys, other spellings."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from tfcli.errors import Problem, SeveralProblemsError, UsageError
from tfcli.recipe.document import parse_document
from tfcli.recipe.marks import GIVEN, Above, Also, Only, marks
from tfcli.recipe.shared_keys import ComputeDtype, Device, StoredDtype
from tfcli.recipe.spec import Section, Spec, entries_of, section_of
from tfcli.recipe.validate import build_spec
from tfcli.recipe.verbs import VERBS


class Falling(Section):
    name: Literal["cosine", "constant"] = Field("cosine", description="The shape.")
    end: Annotated[float, Only(name=("cosine",))] = Field(0.1, description="Where it ends.")


class Work(Spec):
    verb = "work"
    method: Literal["rtn", "gptq"] = Field("gptq", description="How.")
    samples: Annotated[int, Only(method=("gptq",))] = Field(128, description="How many.")
    data: Annotated[str | None, Only(method=("gptq",))] = Field(None, description="A text.")
    heat: float = Field(0.0, description="How hot.")
    top: Annotated[int, Only(heat=Above(0))] = Field(5, description="Of the first.")
    every: Annotated[int, Only(data=GIVEN)] = Field(9, description="How often.")
    length: Annotated[int | None, Also("window")] = Field(None, description="How long.")
    dtype: ComputeDtype = "auto"
    stored: StoredDtype = Field(None, description="As written.")
    device: Device = "auto"
    falling: Falling = Falling()


def problems(text: str) -> dict[str, Problem]:
    """What is wrong with a recipe: where -> the problem."""
    document = parse_document(text, "r.yaml")
    with pytest.raises(UsageError) as error:
        build_spec(Work, document.values, document)
    found = error.value
    several = found.problems if isinstance(found, SeveralProblemsError) else [found]
    return {problem.where: problem for problem in several}


@pytest.mark.parametrize(
    ("text", "where", "what", "fix"),
    [
        ("method: rtn\nsamples: 3", "r.yaml:2: samples", "method: rtn", "method: gptq"),
        ("top: 3", "r.yaml:1: top", "heat: 0.0", "heat above 0"),
        ("every: 1", "r.yaml:1: every", "no data", "data"),
        ("falling: {name: constant, end: 0}", "r.yaml:1: falling.end", "constant", "name: cosine"),
    ],
)
def test_a_key_without_effect_is_refused_with_its_line_and_the_way_out(text, where, what, fix):
    problem = problems(text)[where]
    assert problem.what.endswith(f"has no effect with {what}") or what in problem.what
    assert problem.fix == f"leave it out, or choose {fix}"
    assert problem.code == "usage.no_effect"


def test_a_key_without_effect_is_refused_when_it_is_given_its_own_default():
    assert "r.yaml:2: samples" in problems("method: rtn\nsamples: 128")


def test_null_is_as_good_as_not_given():
    assert build_spec(Work, {"method": "rtn", "data": None}).data is None


def test_all_that_is_wrong_is_told_at_once_and_nothing_that_only_seems_so():
    found = problems("method: rtn\nsamples: 1\nheat: hot\ntop: 3\nlengt: 4\nfalling: {end: x}")
    assert set(found) == {
        "r.yaml:2: samples",
        "r.yaml:3: heat",  # what is wrong itself does not say whether top has an effect
        "r.yaml:5: lengt",
        "r.yaml:6: falling.end",
    }


def test_what_a_spec_comes_to_can_be_given_again():
    for given in ({"method": "rtn"}, {"samples": 3, "window": 4, "falling": {"name": "constant"}}):
        spec = Work(**given)
        assert Work(**spec.model_dump()) == spec
    assert "samples" not in Work(method="rtn").model_dump()


def test_another_name_is_the_key_and_both_are_one_too_many():
    assert build_spec(Work, {"window": 7}) == build_spec(Work, {"length": 7})
    found = problems("length: 1\nwindow: 2")["r.yaml:2: window"]
    assert (found.what, found.code) == ("'length' and 'window' are one key", "usage.given_twice")
    assert "r.yaml:1: window" in problems("window: long")


@pytest.mark.parametrize(
    ("given", "shown"),
    [("fp32", "float32"), ("bf16", "bfloat16"), ("f16", "float16"), ("float16", "float16")],
)
def test_every_spelling_of_a_type_is_taken_and_one_is_shown(given, shown):
    spec = Work(dtype=given, stored=given)
    assert (spec.dtype, spec.stored) == (shown, shown)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:3", "mps"])
def test_devices_are_named_as_torch_names_them(name):
    assert Work(device=name).device == name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "cuda:1 "])
def test_what_is_no_device_is_refused_with_the_choices(name):
    assert "cuda:N" in problems(f"device: '{name}'")["r.yaml:1: device"].what


@pytest.mark.parametrize("verb", VERBS)
def test_types_devices_and_lengths_are_the_same_keys_in_every_command(verb):
    fields = VERBS[verb].spec().model_fields
    schema = VERBS[verb].spec().model_json_schema()["properties"]
    for key in {"dtype", "precision"} & fields.keys():
        choices = str(schema[key])
        assert "'float32'" in choices and "'fp32'" not in choices
        assert "fp32" in str(fields[key].metadata)
    if "device" in fields:
        assert (fields["device"].default, schema["device"]["type"]) == ("auto", "string")
    assert "window" not in fields
    if "sequence_length" in fields:
        assert dict(marks(fields, Also))["sequence_length"].names == ("window",)


def conditions(cls: type[Section]):
    """Every class of a spec with the keys that have conditions."""
    yield cls, dict(marks(cls.model_fields, Only))
    for field in cls.model_fields.values():
        section = section_of(field.annotation) or entries_of(field.annotation)
        if section:
            yield from conditions(section)


@pytest.mark.parametrize("verb", VERBS)
def test_conditions_name_keys_that_there_are_and_values_that_they_take(verb):
    for cls, found in conditions(VERBS[verb].spec()):
        for only in found.values():
            assert only.keys <= set(cls.model_fields)
            for key, wanted in only.conditions.items():
                if isinstance(wanted, tuple):
                    text = str(cls.model_json_schema()["properties"][key])
                    assert all(repr(value) in text or value is True for value in wanted)


def test_one_of_several_keys_can_be_enough() -> None:
    class Trained(Section):
        method: str = "full"
        given: str | None = None
        share: float | None = None
        every: Annotated[int, Only(either=("given", "share"), method=("full",))] = 100

    assert Trained(share=0.1, every=5).every == Trained(given="x", every=5).every == 5
    assert "every" not in Trained().model_dump() and "every" in Trained(share=1).model_dump()
    with pytest.raises(ValidationError, match="every has no effect with no given"):
        Trained(every=50)
    with pytest.raises(ValidationError, match="every has no effect with method: none"):
        Trained(every=50, method="none", share=0.1)
    only = next(only for _, only in marks(Trained.model_fields, Only))
    assert only.as_keys() == "method: full and given or share"
    assert only.as_flags("run") == "--run.method full and --run.given or --run.share"


def test_a_value_that_asks_for_nothing_may_stand_anywhere() -> None:
    class Trained(Section):
        validation: str | None = None
        validate_every: Annotated[int, Only(off=0, validation=GIVEN)] = 100

    assert Trained(validate_every=0).validate_every == 0
    with pytest.raises(ValidationError, match="no effect with no validation"):
        Trained(validate_every=50)
