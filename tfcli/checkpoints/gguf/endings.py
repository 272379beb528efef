"""What ends a text: a checkpoint's end ids and GGUF's keys for them.

A checkpoint may end a text at any of several ids (`eos_token_id` of generation_config.json or
config.json). GGUF has a key each for the end of a text, of a turn and of a message, and llama.cpp
ends at further tokens that it knows by their text. Tokens that are never made have a key too.
generation_config.json itself is kept under a key of our own, so that it comes back as it was.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfcli.checkpoints.beside import GENERATION_CONFIG
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.own_keys import without_code
from tfcli.checkpoints.strict_json import MAX_BYTES, parse_object
from tfcli.errors import WorkError
from tfcli.files import inside, read_bounded

KEPT = "tfcli.generation_config"
KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")
_PREFIX = "tokenizer.ggml."
SILENT = "tokenizer.ggml.suppress_tokens"
_MESSAGE = "<|eom_id|>"
KNOWN = (
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "</s>",
    _MESSAGE,
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)
"""Texts of tokens at which llama.cpp ends whatever the keys say (src/llama-vocab.cpp)."""


def stops_of(config: Mapping[str, Any], folder: Path | None) -> list[int]:
    """The ids that end a text, the model's own first."""
    found = _generation(folder).get("eos_token_id", config.get("eos_token_id"))
    return _ids(found)


def _ids(value: Any) -> list[int]:
    listed = value if isinstance(value, list) else [value]
    return [each for each in listed if isinstance(each, int) and not isinstance(each, bool)]


def _generation(folder: Path | None) -> dict[str, Any]:
    path = None if folder is None else inside(folder, GENERATION_CONFIG)
    if path is None or not path.is_file():
        return {}
    return parse_object(read_bounded(path, MAX_BYTES), where=str(path))


def write_endings(
    stops: Sequence[int], eos: int | None, tokens: Sequence[str], folder: Path | None
) -> tuple[dict[str, Value], list[str]]:
    """The keys of the ids that end a text, and what the user should know.

    Args:
        stops: the checkpoint's.
        eos: the tokenizer's, which comes first.
        tokens: the text of each id.
        folder: with generation_config.json.
    """
    found: dict[str, Value] = {}
    others = [each for each in dict.fromkeys(stops) if each != eos]
    if eos is None and others:
        eos = others.pop(0)
    if eos is not None:
        found[f"{_PREFIX}{KEYS[0]}"] = Value("uint32", eos)
    # What llama.cpp knows by sight needs no key where keys are short.
    others.sort(key=lambda each: (tokens[each] == _MESSAGE, tokens[each] in KNOWN))
    message = others.pop() if others and tokens[others[-1]] == _MESSAGE else None
    turn = others.pop(0) if others else None
    if message is None and others:
        message = others.pop(0)
    for key, place in ((KEYS[1], turn), (KEYS[2], message)):
        if place is not None:
            found[_PREFIX + key] = Value("uint32", place)
    unknown = [each for each in others if tokens[each] not in KNOWN]
    notes = [
        f"llama.cpp does not end at {tokens[each]!r} ({each}): GGUF has keys for three tokens"
        for each in unknown
    ]
    generation = _generation(folder)
    silent = _ids(generation.get("suppress_tokens") or [])
    if silent:
        found[SILENT] = Value("array[int32]", [each for each in silent if each < len(tokens)])
    if generation:
        kept = json.dumps(without_code(generation), ensure_ascii=False)
        found[KEPT] = Value("string", kept)
    return found, notes


def read_endings(
    metadata: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int], control: int
) -> list[int]:
    """The ids at which llama.cpp ends a text, the file's own first.

    Args:
        metadata: the file's.
        tokens: the text of each id.
        types: their types.
        control: the type that special tokens have.
    """
    keyed = _ids([metadata.get(_PREFIX + key) for key in KEYS])
    by_text = [
        index
        for index, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if kind == control and text in KNOWN
    ]
    return [each for each in dict.fromkeys([*keyed, *by_text]) if 0 <= each < len(tokens)]


def generation_config(
    metadata: Mapping[str, Any], stops: Sequence[int], config: Mapping[str, Any], where: str
) -> dict[str, Any] | None:
    """The content of generation_config.json; None where config.json says all.

    The kept one counts while the file ends where it says.

    Raises:
        WorkError: the kept one is no JSON.
    """
    kept = metadata.get(KEPT)
    if isinstance(kept, str):
        spec = parse_object(kept.encode("utf-8", "replace"), where=f"{where}: {KEPT}")
        keyed = set(_ids([metadata.get(_PREFIX + key) for key in KEYS]))
        if keyed >= set(_ids(spec.get("eos_token_id"))[:1]):
            return without_code(spec)
    silent = metadata.get(SILENT)
    never = {"suppress_tokens": list(silent)} if isinstance(silent, array) and silent else {}
    if not never and (list(stops) == _ids(config.get("eos_token_id")) or not stops):
        return None
    ends = stops[0] if len(stops) == 1 else list(stops)
    others = {key: config.get(key) for key in ("bos_token_id", "pad_token_id")}
    named = {key: value for key, value in others.items() if value is not None}
    return {**named, **({"eos_token_id": ends} if stops else {}), **never}


def require_rows(
    stops: Sequence[int], roles: Mapping[str, int], dropped: Mapping[int, str], where: str
) -> list[str]:
    """Refuse a token that ends or begins a text and has no row in the model.

    Args:
        stops: ids that end a text.
        roles: role -> id of the tokenizer's special tokens.
        dropped: id -> text of the tokens beyond the model's rows.
        where: for errors.

    Returns:
        What the user should know of the others.

    Raises:
        WorkError: names the token and its id.
    """
    needed = dict.fromkeys(stops, "eos_token_id")
    needed |= {roles[role]: role for role in ("bos_token", "eos_token") if role in roles}
    for index, role in needed.items():
        if index in dropped:
            raise WorkError(
                f"{role} {dropped[index]!r} is id {index}, beyond the rows of the model",
                where=where,
                fix="convert the model whose embedding was resized for its tokenizer; or "
                "--no-tokenizer, which leaves the tokenizer out",
            )
    if not dropped:
        return []
    listed = [f"{text!r} ({index})" for index, text in sorted(dropped.items())]
    more = f" and {len(listed) - 8} more" if len(listed) > 8 else ""
    return [f"tokens beyond the rows of the model are left out: {', '.join(listed[:8])}{more}"]
