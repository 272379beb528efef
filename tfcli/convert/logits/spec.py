"""The account of `--verify logits` in the result of `tfcli convert`."""

from __future__ import annotations

from pydantic import BaseModel, Field


class LogitsAccount(BaseModel):
    """How the logits of what was written differ from the source's.

    Differences that are relative are the root of the mean square, divided by the standard
    deviation of the source's logits.
    """

    task: str = Field(
        description="The head that was run, such as `causal-lm`; `embedding` where the container "
        "holds no head."
    )
    tokens: int = Field(description="How many random token ids both sides read.")
    seed: int = Field(description="The seed of the token ids.")
    rounded: dict[str, int] = Field(
        description="Types that weights were rounded to -> how many; empty where all kept their "
        "values."
    )
    largest_difference: float = Field(description="The largest absolute difference of a logit.")
    relative_difference: float = Field(
        description="The relative difference between what was written and the source."
    )
    expected_difference: float = Field(
        description="The relative difference of the source from itself, with its weights "
        "rounded to the types that were written: what the types cost in this model."
    )
    unexplained_difference: float = Field(
        description="The relative difference between what was written and the rounded source: what "
        "no type explains."
    )
    bound: float = Field(
        description="The largest unexplained difference that passes: 0 where both sides must be "
        "equal bit for bit, more where the container spells the config in another way."
    )
    within: bool = Field(description="Whether the unexplained difference is within the bound.")
    kl_divergence: float | None = Field(
        description="The KL divergence of the written model from the source, nats a token; null "
        "without a head that predicts tokens."
    )
    same_top: float | None = Field(
        description="Share of answers (tokens, labels, places) that both rank first; null where "
        "nothing is ranked."
    )
