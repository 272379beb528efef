"""What a checkpoint says of how its texts are made: where they begin and end, what never comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfcli.console import Console
from tfcli.errors import WorkError
from tfcli.models.config import ModelConfig

WHERE = "generation_config.json"


@dataclass(frozen=True)
class TextSettings:
    """Token ids from generation_config.json, and without that file from config.json.

    Args:
        stop: each of them ends a text.
        never: they are not chosen; Marian's padding would be the likeliest often.
        start: what the decoder of an encoder-decoder sees first; None: as the config says.
        forced_bos: the first token of its text, such as the language that it is in.
    """

    stop: frozenset[int] = frozenset()
    never: tuple[int, ...] = ()
    start: int | None = None
    forced_bos: int | None = None


def read_settings(
    generation_config: Mapping[str, Any], config: ModelConfig, console: Console
) -> TextSettings:
    """The settings of a checkpoint.

    Args:
        generation_config: the content of generation_config.json; empty where there is none.
        config: of the model.
        console: is told what is not looked at.

    Raises:
        WorkError: a value that is no token id of the model; names its key.
    """
    said = generation_config or config.extra
    limit = getattr(config, "decoder_rows", config.token_id_limit)
    stop = stop_ids(generation_config, config)
    never = [_id(token, "suppress_tokens", limit) for token in _list(said, "suppress_tokens")]
    for words in _list(said, "bad_words_ids"):
        if not isinstance(words, list):
            raise WorkError("bad_words_ids: not a list of lists of ids", where=WHERE)
        if len(words) == 1:
            never.append(_id(words[0], "bad_words_ids", limit))
        else:
            console.note(f"{WHERE}: bad_words_ids of several tokens are not kept out")
    return TextSettings(
        stop=frozenset(stop),
        never=tuple(token for token in dict.fromkeys(never) if token not in stop),
        start=_one(generation_config, "decoder_start_token_id", limit),
        forced_bos=_one(said, "forced_bos_token_id", limit),
    )


def stop_ids(generation_config: Mapping[str, Any], config: ModelConfig) -> set[int]:
    """The ids that end a text: generation_config.json's, else config.json's."""
    key = "eos_token_id"
    found = generation_config.get(key, config.eos_token_id)
    several = found if isinstance(found, list) else [] if found is None else [found]
    return {_id(token, key) for token in several}


def _one(content: Mapping[str, Any], key: str, limit: int) -> int | None:
    found = content.get(key)
    return None if found is None else _id(found, key, limit)


def _list(content: Mapping[str, Any], key: str) -> list[Any]:
    found = content.get(key)
    if not isinstance(found, list | None):
        raise WorkError(f"{key}: must be a list, not {found!r}", where=WHERE)
    return found or []


def _id(value: Any, key: str, limit: int | None = None) -> int:
    """A token id. One that ends a text may lie past the table: then it never comes."""
    is_id = isinstance(value, int) and not isinstance(value, bool)
    if not is_id or (limit is not None and not 0 <= value < limit):
        raise WorkError(f"{key}: {value!r} is no token id of the model", where=WHERE)
    return int(value)
