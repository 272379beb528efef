"""The keys of strategies: ways of choosing tokens beside taking or drawing one at a time."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tfcli.recipe.spec import ModelRef, Section


class StrategyKeys(Section):
    """Beams, and what else looks further than the next token."""

    said_of_strategies: ClassVar[tuple[str, ...]] = (
        *("num_beams", "length_penalty", "early_stopping"),
        *("prompt_lookup_num_tokens", "max_matching_ngram_size"),
        *("num_assistant_tokens", "assistant_confidence_threshold"),
    )
    """Those that mean what they mean in generation_config.json."""

    num_beams: int | None = Field(
        None,
        ge=1,
        description="Unfinished texts of each prompt that go on side by side; the best whole one "
        "is the answer, which comes when it is whole.",
    )
    length_penalty: float | None = Field(
        None,
        allow_inf_nan=False,
        description="Of beams: the sum of log-probabilities is divided by the length to this "
        "power, so that above 0 longer texts are better. Left out, 1.",
    )
    early_stopping: bool | Literal["never"] | None = Field(
        None,
        description="Of beams: true ends with as many whole texts as beams; false also where the "
        "best beam would be no better if it ended now; never, where it could not become better at "
        "any length.",
    )
    assistant_model: ModelRef | None = Field(
        None,
        description="A smaller model of the same tokenizer, whose drafts the model reads several "
        "tokens at a time: the same text in less time, or draws of the same probabilities.",
    )
    num_assistant_tokens: int | None = Field(
        None, ge=1, description="Tokens of a draft of the assistant model at most. Left out, 20."
    )
    assistant_confidence_threshold: Annotated[float | None, Field(ge=0, le=1)] = Field(
        None,
        description="The assistant ends a draft after a token to which it gives less probability. "
        "Left out, 0.4.",
    )
    prompt_lookup_num_tokens: int | None = Field(
        None,
        ge=1,
        description="Draft at most so many tokens from the text itself: what came after the same "
        "tokens before. The same text in less time, where it repeats its prompt.",
    )
    max_matching_ngram_size: int | None = Field(
        None, ge=1, description="How many tokens are looked for there, at most. Left out, 2."
    )
