"""The keys of strategies: ways of choosing tokens beside taking or drawing one at a time."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tfcli.recipe.marks import GIVEN, Only
from tfcli.recipe.spec import ModelRef, Section

Way = Annotated[str, Field(min_length=1)]


GREEN, SYNTHID = Only(keys=(None,)), Only(keys=GIVEN)


class WatermarkSection(Section):
    """The mark that tokens carry: some are likelier, or with `keys` SynthID's."""

    greenlist_ratio: Annotated[float, GREEN] = Field(
        0.25, gt=0, lt=1, description="Share of all tokens that are likelier."
    )
    bias: Annotated[float, GREEN] = Field(
        2.0, allow_inf_nan=False, description="Added to their logits."
    )
    hashing_key: Annotated[int, GREEN] = Field(
        15485863, ge=1, description="The key; who has another one finds no mark."
    )
    seeding_scheme: Annotated[Literal["lefthash", "selfhash"], GREEN] = Field(
        "lefthash",
        description="Whether the token before says which they are, or the last ones with the token "
        "itself.",
    )
    context_width: Annotated[int, GREEN] = Field(
        1, ge=1, description="Tokens that must come before a marked one."
    )
    keys: Annotated[list[int] | None, Field(min_length=1)] = Field(
        None,
        description="Mark by SynthID: a key for each round of the tournament that a token wins.",
    )
    ngram_len: Annotated[int, SYNTHID] = Field(
        5, ge=2, description="Tokens that are hashed together, with the marked one."
    )
    context_history_size: Annotated[int, SYNTHID] = Field(
        1024, ge=1, description="After tokens that came at so many earlier places, none is marked."
    )
    sampling_table_seed: Annotated[int, SYNTHID] = Field(
        0, ge=0, description="The seed of the table that hashes are looked up in."
    )
    sampling_table_size: Annotated[int, SYNTHID] = Field(
        65536, ge=1, description="How many numbers that table has."
    )


class StrategyKeys(Section):
    """Beams, and what else looks further than the next token."""

    said_of_strategies: ClassVar[tuple[str, ...]] = (
        *("num_beams", "length_penalty", "early_stopping"),
        *("prompt_lookup_num_tokens", "max_matching_ngram_size"),
        *("num_assistant_tokens", "assistant_confidence_threshold"),
        *("guidance_scale", "watermarking_config"),
        *("num_beam_groups", "diversity_penalty", "penalty_alpha", "dola_layers"),
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
        description="Beams are compared by the sum of log-probabilities divided by the length to "
        "this power, so that above 0 longer texts are better. Left out, 1.",
    )
    early_stopping: bool | Literal["never"] | None = Field(
        None,
        description="When beams end: true, with as many whole texts as beams; false, also where "
        "the best beam would be no better if it ended now; never, where it could not become "
        "better at any length.",
    )
    num_beam_groups: int | None = Field(
        None,
        ge=1,
        description="Groups of beams, each of which shuns what those before it say; num_beams is a "
        "multiple of it.",
    )
    diversity_penalty: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Taken off a token's log-probability for each beam of an earlier group that "
        "says it at the same place.",
    )
    force_words: list[Way | list[Way]] = Field(
        [],
        description="A text that each beam's text has, after a space or without one; of a list of "
        "texts, one of them. Can be repeated.",
    )
    penalty_alpha: Annotated[float | None, Field(ge=0, le=1)] = Field(
        None,
        description="Search contrastively: of the top_k likeliest tokens the one that is likely "
        "and unlike what came before; from 0, the likeliest, to 1, the least alike.",
    )
    dola_layers: Literal["low", "high"] | list[Annotated[int, Field(ge=0)]] | None = Field(
        None,
        description="Compare layers (DoLa): what the last one says more than an earlier one, of "
        "the lower or the upper half or of some numbers.",
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
    guidance_scale: float | None = Field(
        None,
        allow_inf_nan=False,
        description="What the prompt says more than the negative prompt is made larger by this "
        "factor; 1 changes nothing.",
    )
    negative_prompt: str | None = Field(
        None,
        min_length=1,
        description="The text that guidance leads away from. Left out, the last token of each "
        "prompt.",
    )
    sequence_bias: dict[Way, float] = Field(
        {},
        description="A text and a number, which is added to the logit of its last token where the "
        "others have just come; as it is tokenized after a space and without one.",
    )
    watermarking_config: WatermarkSection | None = Field(
        None, description="Mark the text by its tokens; it can be found by who has the key."
    )

    @model_validator(mode="after")
    def _groups_of_one_size(self) -> Self:
        beams, groups = self.num_beams, self.num_beam_groups
        if beams is not None and groups is not None and beams % groups:
            raise ValueError(
                f"num_beam_groups: {groups} groups of one size cannot be made of {beams} beams"
            )
        return self
