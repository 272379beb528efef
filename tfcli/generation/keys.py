"""The keys of how text is made, which every command that makes some has.

They are spelt as in generation_config.json. A key that is left out is what that file says.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from tfcli.generation.strategies.keys import StrategyKeys
from tfcli.recipe.spec import InputPath, Section

COLDEST = 1e-6
"""The lowest temperature above 0: logits divided by it are numbers that float32 tells apart."""
DRAWS = (
    *("temperature", "top_k", "top_p", "top_h", "min_p"),
    *("typical_p", "epsilon_cutoff", "eta_cutoff"),
)
"""How tokens are drawn. Each asks for draws, as far as do_sample does not say otherwise."""

Share = Annotated[float | None, Field(ge=0, le=1)]
TokenId = Annotated[int, Field(ge=0)]


class GenerationKeys(StrategyKeys):
    """How the next token is picked, and when a text ends."""

    said_by_file: ClassVar[tuple[str, ...]] = (
        *("do_sample", *DRAWS, "repetition_penalty", "frequency_penalty", "presence_penalty"),
        *("encoder_repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"),
        *("min_new_tokens", "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id"),
        *("forced_eos_token_id", "exponential_decay_length_penalty", "max_time"),
        *("num_return_sequences", *StrategyKeys.said_of_strategies),
    )
    """Those that mean what they mean in generation_config.json, and stand in the place of its."""

    do_sample: bool | None = Field(
        None,
        description="Draw tokens, in place of taking the likeliest. Left out, where a temperature "
        "above 0 or another key of the draws is given, or as generation_config.json says.",
    )
    temperature: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="How freely tokens are drawn: 0 takes the likeliest token, 1 draws from the "
        "model's own probabilities.",
    )
    top_k: int | None = Field(
        None, ge=0, description="Draw only from this many of the likeliest tokens; 0: from all."
    )
    top_p: Share = Field(
        None,
        description="Draw only from the fewest likeliest tokens that have this probability "
        "together; 0: from the likeliest, 1: from all.",
    )
    top_h: Share = Field(
        None,
        description="Draw only from the likeliest tokens that have this share of the entropy "
        "together, of the hundred likeliest; 1: from all.",
    )
    min_p: Share = Field(
        None,
        description="Draw only from tokens that have this share of the likeliest one's "
        "probability; 0: from all.",
    )
    typical_p: Share = Field(
        None,
        description="Draw only from tokens whose surprise is nearest to what is expected, as many "
        "as have this probability together; 1: from all.",
    )
    epsilon_cutoff: Annotated[float | None, Field(ge=0, lt=1)] = Field(
        None, description="Draw only from tokens that are at least so likely; 0: from all."
    )
    eta_cutoff: Annotated[float | None, Field(ge=0, lt=1)] = Field(
        None,
        description="The same, with less asked for where the model is unsure; 0: from all.",
    )
    repetition_penalty: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Tokens that came before, the prompt's too, become less likely by this "
        "factor; 1 changes nothing.",
    )
    frequency_penalty: float | None = Field(
        None,
        ge=-2,
        le=2,
        description="Taken off a token's logit for each time that it came in the new text.",
    )
    presence_penalty: float | None = Field(
        None, ge=-2, le=2, description="Taken off once for a token that came in the new text."
    )
    encoder_repetition_penalty: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Tokens of the prompt become likelier by this factor; 1 changes nothing.",
    )
    no_repeat_ngram_size: int | None = Field(
        None, ge=0, description="No so many tokens in a row come twice; 0: any may."
    )
    encoder_no_repeat_ngram_size: int | None = Field(
        None, ge=0, description="No so many tokens in a row come that stand in the prompt; 0: any."
    )
    min_new_tokens: int | None = Field(
        None, ge=0, description="The model does not end a text before so many tokens."
    )
    suppress_tokens: list[TokenId] | None = Field(None, description="Ids that do not come.")
    begin_suppress_tokens: list[TokenId] | None = Field(
        None, description="Ids that are not the first new one."
    )
    bad_words: list[Annotated[str, Field(min_length=1)]] = Field(
        [],
        description="A text that does not come, as it is tokenized after a space and without one. "
        "Can be repeated.",
    )
    forced_bos_token_id: TokenId | None = Field(
        None, description="The id that a decoder's text begins with, such as a language's."
    )
    forced_eos_token_id: TokenId | None = Field(
        None, description="The id that comes last where a text is as long as it may be."
    )
    exponential_decay_length_penalty: list[float] | None = Field(
        None,
        min_length=2,
        max_length=2,
        description="Two numbers: after so many new tokens the end becomes likelier, by powers of "
        "the second.",
    )
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="A text that ends the answer, which is cut before it. Can be repeated."
    )
    max_time: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which no text goes on; each has a token at least.",
    )
    num_return_sequences: int | None = Field(
        None,
        ge=1,
        description="Texts that are made of each prompt: each with other draws, or "
        "the best of its beams.",
    )
    regex: Annotated[str | None, Field(min_length=1)] = Field(
        None, description="A regular expression that the whole new text matches."
    )
    json_schema: InputPath | None = Field(
        None,
        description="A file with a JSON Schema that the new text fits. A word of it that cannot be "
        "followed is an error.",
    )
    grammar: InputPath | None = Field(
        None, description="A file with a grammar in Lark's form that the new text follows."
    )
    seed: int = Field(
        0, ge=0, lt=1 << 64, description="The seed of the draws: equal seeds give equal text."
    )

    @field_validator("temperature")
    @classmethod
    def _divides(cls, value: float | None) -> float | None:
        if value is not None and 0 < value < COLDEST:
            raise ValueError(
                f"{value:g} is too near to 0 to divide by; 0 takes the likeliest token, and "
                f"{COLDEST:g} is the least above it"
            )
        return value

    @model_validator(mode="after")
    def _draws_or_not(self) -> Self:
        given = [key for key in (*self._draws[1:], "seed") if key in self.given]
        for key, value in (("temperature", 0), ("do_sample", False)):
            if key in self.given and getattr(self, key) == value:
                other = next(iter(given), None)
                if key == "temperature" and self.do_sample:
                    other = "do_sample"
                if key == "do_sample" and self.temperature:
                    other = "temperature"
                if other is not None:
                    raise ValueError(f"{other} has no effect with {key}: {str(value).lower()}")
        return self

    @model_validator(mode="after")
    def _one_grammar(self) -> Self:
        shapes = [key for key in ("regex", "json_schema", "grammar") if key in self.given]
        if len(shapes) > 1:
            raise ValueError(f"{' and '.join(shapes)} do not go together: give one of them")
        return self

    @property
    def _draws(self) -> tuple[str, ...]:
        """The keys that ask for draws; contrastive search's top_k is of candidates that it
        compares."""
        return tuple(key for key in DRAWS if not (self.penalty_alpha and key == "top_k"))

    @property
    def given(self) -> set[str]:
        """The keys that were given a value other than null."""
        return {key for key in self.model_fields_set if getattr(self, key) is not None}

    def asked(self) -> dict[str, Any]:
        """What is to be done in place of what generation_config.json says, by its keys."""
        found = {key: getattr(self, key) for key in self.said_by_file if key in self.given}
        found = {
            key: value.model_dump(exclude_none=True) if isinstance(value, Section) else value
            for key, value in found.items()
        }
        if self.temperature == 0:
            return {**found, "do_sample": False}
        if self.do_sample is None and any(key in found for key in self._draws):
            return {**found, "do_sample": True}
        return found
