"""A user's wishes with what a checkpoint says: settings, languages, a negative prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.console import Console
from tfcli.generation.grammar import grammar_of
from tfcli.generation.keys import GenerationKeys
from tfcli.generation.reading import prompt_ids
from tfcli.generation.settings import TextSettings, read_settings
from tfcli.generation.spec import GenerateSpec
from tfcli.generation.strategies.choice import check_choice
from tfcli.generation.words import biases, forced, unwanted
from tfcli.models.configs.text import TextConfig
from tfcli.tokenizers.fits import check_ids
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.tokenizers.translation import translating


def text_settings(
    spec: GenerationKeys,
    generation_config: Mapping[str, Any],
    config: TextConfig,
    tokenizer: Tokenizer,
    console: Console,
) -> TextSettings:
    """The checkpoint's settings under the user's; says what of the checkpoint's is not followed."""
    settings = read_settings(generation_config, config, spec.asked())
    check_choice(settings, spec.given)
    if settings.ignored:
        console.warn(
            f"generation_config.json asks for what is not followed: {', '.join(settings.ignored)}"
        )
    bias = (*unwanted(spec.bad_words, tokenizer), *biases(spec.sequence_bias, tokenizer))
    rules = replace(settings.rules, bias=(*settings.rules.bias, *bias))
    beams = settings.beams
    if beams is not None and spec.force_words:
        words = (*beams.force_words, *forced(spec.force_words, tokenizer))
        settings = replace(settings, beams=replace(beams, force_words=words))
    stops = tuple(dict.fromkeys((*settings.stop_strings, *spec.stop)))
    special = {
        token.content: index
        for index, token in tokenizer.backend.get_added_tokens_decoder().items()
        if token.special
    }
    # A special token is not in the text that is looked at, so it stops as an id.
    ids = {special[stop] for stop in stops if stop in special}
    stop = settings.stop | ids
    grammar = grammar_of(spec, tokenizer, sorted(stop))
    return replace(settings, rules=rules, stop_strings=stops, stop=stop, grammar=grammar)


def with_negative(
    settings: TextSettings,
    spec: GenerateSpec,
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    task: str,
) -> TextSettings:
    """The same, with what the model reads of the negative prompt."""
    if spec.negative_prompt is None:
        return settings
    ids = prompt_ids(spec.negative_prompt, spec, checkpoint, tokenizer, task)
    check_ids(ids, checkpoint.model_config, spec.model)
    return replace(settings, negative=tuple(ids))


def tokenizer_of(spec: GenerateSpec, folder: Path) -> tuple[Tokenizer, int | None]:
    """The tokenizer, and what a text in the language that is asked for begins with."""
    source, target = spec.source_language, spec.target_language
    if source is None and target is None:
        return load_tokenizer(folder), None
    return translating(folder, source, target, "target_language" if target else "source_language")


def beginning_with(settings: TextSettings, first: int | None) -> TextSettings:
    """The same for texts that begin with a token; None: with any."""
    if first is None:
        return settings
    return replace(settings, rules=replace(settings.rules, forced_bos=first))
