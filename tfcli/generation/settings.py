"""What a checkpoint says of how its texts are made: where they begin and end, and by which rules.

The keys are those of generation_config.json. Rules that greedy search follows in transformers are
followed; of any other it is said that it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tfcli.errors import WorkError
from tfcli.generation.grammar import Grammar
from tfcli.generation.keys import DRAWS
from tfcli.generation.processors import NEVER
from tfcli.generation.rules import Rules
from tfcli.generation.sampling import Draw
from tfcli.generation.strategies.marks import Mark, read_watermark
from tfcli.generation.strategies.settings import (
    BeamSettings,
    ContrastSettings,
    DolaLayers,
    DraftSettings,
    read_beams,
    read_contrast,
    read_drafts,
    read_layers,
)
from tfcli.generation.values import (
    WHERE,
    count,
    listed,
    number,
    one_id,
    positive,
    sequence,
    several_ids,
    share,
    texts,
    token_id,
)
from tfcli.models.configs.text import TextConfig

UNLESS: dict[str, tuple[Any, ...]] = {
    "constraints": (None,),
    "forced_decoder_ids": (None,),
    "token_healing": (False, None),
}
"""Keys that change the text and are not followed, with the values that change nothing."""
FOLLOWED: dict[str, tuple[Any, ...]] = {
    "do_sample": (False,),
    **dict.fromkeys(DRAWS, ()),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty"), (1.0,)),
    **dict.fromkeys(("frequency_penalty", "presence_penalty"), (0,)),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), (0,)),
    **dict.fromkeys(("min_length", "min_new_tokens"), (0,)),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), ([],)),
    **dict.fromkeys(("bad_words_ids", "sequence_bias", "forced_bos_token_id"), ()),
    **dict.fromkeys(("forced_eos_token_id", "exponential_decay_length_penalty"), ()),
    "remove_invalid_values": (False,),
    **dict.fromkeys(("stop_strings", "max_time"), ()),
    **dict.fromkeys(("num_return_sequences", "num_beams"), (1,)),
    **{"length_penalty": (1.0,), "early_stopping": (False,)},
    **{"guidance_scale": (1,), "watermarking_config": ()},
    **{"num_beam_groups": (1,), "diversity_penalty": (0,), "force_words_ids": ()},
    **{"penalty_alpha": (0,), "dola_layers": ()},
    **{"prompt_lookup_num_tokens": (0,), "max_matching_ngram_size": ()},
    **dict.fromkeys(("num_assistant_tokens", "assistant_confidence_threshold"), ()),
}
"""Keys that are followed, with the values that change nothing."""


@dataclass(frozen=True)
class TextSettings:
    """What generation_config.json says, and without that file config.json.

    Args:
        stop: each of these ids ends a text.
        stop_strings: each of these texts does.
        start: what the decoder of an encoder-decoder sees first; None: as the config says.
        rules: how tokens are chosen.
        draw: how tokens are drawn; None: the likeliest is taken.
        max_time: seconds after which no text goes on; None: any.
        sequences: texts of each prompt.
        grammar: what texts must look like; None: anything.
        beams: how beams are kept; None: there is one.
        drafts: how tokens are drafted.
        guidance: how far from the negative prompt; 1: it is not read.
        negative: what the negative prompt is read as; empty: the last token of each prompt.
        watermark: how texts are marked; None: they are not.
        contrast: how candidates are compared with the text; None: they are not.
        dola_layers: that the last layer is compared with; None: it is not.
        ignored: what the file asks for and is not followed, as `key value`.
        said: the keys that change something, with their values.
    """

    stop: frozenset[int] = frozenset()
    stop_strings: tuple[str, ...] = ()
    start: int | None = None
    rules: Rules = field(default_factory=Rules)
    draw: Draw | None = None
    max_time: float | None = None
    sequences: int = 1
    grammar: Grammar | None = None
    beams: BeamSettings | None = None
    drafts: DraftSettings = field(default_factory=DraftSettings)
    guidance: float = 1.0
    negative: tuple[int, ...] = ()
    watermark: Mark | None = None
    contrast: ContrastSettings | None = None
    dola_layers: DolaLayers | None = None
    ignored: tuple[str, ...] = ()
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def forced_bos(self) -> int | None:
        """The first token of a decoder's text, such as the language that it is in."""
        return self.rules.forced_bos


def read_settings(
    generation_config: Mapping[str, Any],
    config: TextConfig,
    asked: Mapping[str, Any] = MappingProxyType({}),
) -> TextSettings:
    """The settings of a checkpoint, with a user's in the place of its own.

    Args:
        generation_config: the content of generation_config.json; empty where there is none.
        config: of the model.
        asked: the user's, by the same keys.

    Raises:
        WorkError: a value that cannot be, such as one that is no token id; names its key.
    """
    said = {**(generation_config or config.extra), **asked}
    limit = getattr(config, "decoder_rows", config.token_id_limit)
    stop = stop_ids(generation_config, config)
    ends = several_ids(said, "forced_eos_token_id", limit)
    rules = Rules(
        repetition_penalty=number(said, "repetition_penalty", 1.0, positive),
        frequency_penalty=number(said, "frequency_penalty", 0.0),
        presence_penalty=number(said, "presence_penalty", 0.0),
        encoder_repetition_penalty=number(said, "encoder_repetition_penalty", 1.0, positive),
        no_repeat_ngram_size=count(said, "no_repeat_ngram_size"),
        encoder_no_repeat_ngram_size=count(said, "encoder_no_repeat_ngram_size"),
        min_length=count(said, "min_length"),
        min_new_tokens=count(said, "min_new_tokens"),
        suppress_tokens=several_ids(said, "suppress_tokens", limit),
        begin_suppress_tokens=several_ids(said, "begin_suppress_tokens", limit),
        bias=(*_bias(said, limit), *_bad_words(said, stop, limit)),
        forced_bos=one_id(said, "forced_bos_token_id", limit),
        forced_eos=ends,
        decay=_decay(said),
        remove_invalid_values=said.get("remove_invalid_values") is True,
    )
    ignored = [key for key, harmless in UNLESS.items() if said.get(key) not in harmless]
    beams = read_beams(said, limit)
    if beams is None and said.get("force_words_ids"):
        ignored.append("force_words_ids")  # words are for several beams
    return TextSettings(
        stop=frozenset(stop),
        stop_strings=texts(said, "stop_strings"),
        start=one_id(generation_config, "decoder_start_token_id", limit),
        rules=rules,
        ignored=tuple(f"{key} {said[key]}" for key in ignored),
        draw=_draw(said),
        max_time=None if said.get("max_time") is None else number(said, "max_time", 1.0, positive),
        sequences=max(1, count(said, "num_return_sequences")),
        beams=beams,
        drafts=read_drafts(said),
        guidance=number(said, "guidance_scale", 1.0),
        watermark=read_watermark(said),
        contrast=read_contrast(said),
        dola_layers=read_layers(said),
        said={key: said[key] for key in FOLLOWED if said.get(key) not in (None, *FOLLOWED[key])},
    )


def _draw(said: Mapping[str, Any]) -> Draw | None:
    """How tokens are drawn, where do_sample asks for it."""
    if not said.get("do_sample"):
        return None
    shares = {
        key: None if said.get(key) is None else number(said, key, 0.0, share) for key in DRAWS[2:]
    }
    return Draw(
        temperature=number(said, "temperature", 1.0, positive),
        top_k=count(said, "top_k"),
        **shares,
    )


def stop_ids(generation_config: Mapping[str, Any], config: TextConfig) -> set[int]:
    """The ids that end a text: generation_config.json's, else config.json's."""
    key = "eos_token_id"
    found = generation_config.get(key, config.eos_token_id)
    several = found if isinstance(found, list) else [] if found is None else [found]
    return {token_id(token, key) for token in several}


def _bias(said: Mapping[str, Any], limit: int) -> list[tuple[tuple[int, ...], float]]:
    key = "sequence_bias"
    found = []
    for pair in listed(said, key):
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not isinstance(pair[1], int | float)
        ):
            raise WorkError(f"{key}: must be a list of [ids, number], not {pair!r}", where=WHERE)
        found.append((sequence(pair[0], key, limit), float(pair[1])))
    return found


def _bad_words(
    said: Mapping[str, Any], stop: set[int], limit: int
) -> list[tuple[tuple[int, ...], float]]:
    key = "bad_words_ids"
    words = [sequence(ids, key, limit) for ids in listed(said, key)]
    # An end that never came would make a text endless.
    return [(word, NEVER) for word in words if len(word) > 1 or word[0] not in stop]


def _decay(said: Mapping[str, Any]) -> tuple[int, float] | None:
    key = "exponential_decay_length_penalty"
    found = listed(said, key)
    if not found:
        return None
    if len(found) != 2 or not all(type(one) in (int, float) for one in found):
        raise WorkError(f"{key}: must be a length and a factor, not {found!r}", where=WHERE)
    return int(found[0]), float(found[1])
