"""The keys of `tfcli train` that say what training begins with, and what of it moves."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from tfcli.families import FamilyFile, has_run
from tfcli.models.errors import ModelError
from tfcli.recipe.marks import GIVEN, Only
from tfcli.recipe.shared_keys import LoadIn
from tfcli.recipe.spec import ModelRef, OutputPath, Section, TokenizerPath
from tfcli.train.adapter_spec import AdapterSection
from tfcli.train.objectives.spec import WITH_TEXT


class StartKeys(Section):
    """The model, and which of its weights are trained."""

    output: OutputPath = Field(
        description="The folder for the trained model and its metrics.jsonl."
    )
    model: ModelRef | None = Field(
        None,
        description="The checkpoint to go on from: a folder or file of any container, or a hub id.",
    )
    family_file: FamilyFile = None
    config: dict[str, Any] | None = Field(
        None, description="A new model: model_type and the other keys of its config.json."
    )
    tokenizer: Annotated[TokenizerPath | None, Only(objective=WITH_TEXT)] = Field(
        None,
        description="A folder with a tokenizer, or a tokenizer.json; left out, the model's own.",
    )
    adapter: Annotated[AdapterSection, Only(model=GIVEN)] = AdapterSection()
    load_in: Annotated[LoadIn, Only(model=GIVEN)] = None
    train_only: list[str] = Field(
        default_factory=list,
        description="Regular expressions: parameters whose name has a match are trained, and no "
        "others, as `norm` or `lm_head`. Left out, all.",
    )
    freeze: list[str] = Field(
        default_factory=list,
        description="Regular expressions: parameters whose name has a match stay as they are, as "
        r"`embed_tokens` or `layers\.[0-3]\.`.",
    )

    @field_validator("config")
    @classmethod
    def _config_is_known(
        cls, config: dict[str, Any] | None, info: ValidationInfo
    ) -> dict[str, Any] | None:
        # A family of the user's own is known once its file has run, which reading a spec does not
        # do: the work begins with the same check.
        family_file = info.data.get("family_file")
        if config is None or (family_file is not None and not has_run(family_file)):
            return config
        from tfcli.models.config import config_from_recipe, config_keys

        try:
            # The tokenizer gives a vocabulary that is left out; its size does not matter here.
            size = {"vocab_size": 2**31} if "vocab_size" in config_keys(config) else {}
            config_from_recipe({**size, **config})
        except ModelError as error:
            text = f"{error.where}: {error.what}" if error.where else error.what
            raise ValueError(f"{text} ({error.fix})" if error.fix else text) from error
        return config

    @field_validator("train_only", "freeze")
    @classmethod
    def _patterns_are_regular_expressions(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return patterns
