"""What `tfcli compare` takes and gives."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from tfcli.recipe.spec import OutputPath, Result, RunPath, Spec

Verdict = Literal["better", "worse", "different", "not shown", "too few", "same"]


class CompareSpec(Spec):
    """Compare two evaluations of the same samples, pair by pair: is B better or worse than A?"""

    verb: ClassVar[str] = "compare"
    positional: ClassVar[tuple[str, ...]] = ("a", "b")

    a: RunPath = Field(
        description="The folder of one evaluation: what `tfcli eval` or `tfcli score` wrote to "
        "--output."
    )
    b: RunPath = Field(description="The folder of the other one.")
    output: OutputPath | None = Field(None, description="The folder for the record of the result.")
    measures: list[str] | None = Field(
        None,
        min_length=1,
        description="What is compared; left out, every measure that is a mean over samples. The "
        "fewer there are, the smaller a difference can be shown.",
    )
    alpha: float = Field(
        0.05,
        gt=0,
        le=0.5,
        description="The share of false alarms that is accepted, over all measures together.",
    )
    allow: list[str] = Field(
        [],
        description="Conditions that may differ although figures depend on them, by name, such as "
        "tokenizer_sha256 for models of two families.",
    )
    fail_on: Literal["worse", "different"] | None = Field(
        None,
        description="End with exit code 1 where a measure of B is worse than A's, or where one "
        "differs either way.",
    )


class ComparedMeasure(BaseModel):
    """One measure of both."""

    model_config = ConfigDict(frozen=True)
    name: str = Field(description="The measure; of several tasks, `task/name`.")
    unit: str = Field(description="What it counts.")
    a: float = Field(description="A's mean over the samples that both have.")
    b: float = Field(description="B's.")
    difference: float = Field(description="B's mean minus A's.")
    standard_error: float = Field(
        description="The standard error of the difference; samples of one cluster count as one."
    )
    interval: tuple[float, float] = Field(
        description="The confidence interval of the difference, by Student's t; those of all "
        "measures hold together (Bonferroni)."
    )
    p: float = Field(
        description="How often two equal models would differ at least as much, raised for the "
        "number of measures (Holm)."
    )
    test: Literal["signs", "t"] = Field(
        description="signs: all signs of the units that differ, where these are 30 or fewer; t: "
        "Student's, where they are more."
    )
    samples: int = Field(description="Pairs of scores.")
    units: int = Field(description="What is independent of each other: clusters, or samples.")
    smallest_difference: float | None = Field(
        description="The smallest true difference that such samples would show in 80% of the "
        "cases; null where they are too few to show any."
    )
    samples_needed: int | None = Field(
        description="Samples that would show the difference that was found in 80% of the cases; "
        "null without a difference, or where the units are too few to say."
    )
    verdict: Verdict = Field(
        description="B is `better` or `worse`; `different` where no direction is better; "
        "`not shown`: the difference may be chance; `too few`: no difference could be shown; "
        "`same`: every score is equal."
    )


class ConditionDifference(BaseModel):
    """A condition that differs, and may."""

    model_config = ConfigDict(frozen=True)
    name: str = Field(description="The condition; of several tasks, `task/name`.")
    a: Any = Field(description="A's.")
    b: Any = Field(description="B's.")


class CompareResult(Result):
    """How two evaluations differ."""

    schema_name: ClassVar[str] = "tfcli.compare/1"

    a: str = Field(description="The folder of A.")
    b: str = Field(description="The folder of B.")
    alpha: float = Field(description="The share of false alarms over all measures together.")
    measures: list[ComparedMeasure] = Field(description="What was compared.")
    left_out: list[str] = Field(
        description="Measures that are no mean over samples, such as a perplexity: there are no "
        "pairs to compare."
    )
    conditions: list[ConditionDifference] = Field(description="The conditions that differ.")
