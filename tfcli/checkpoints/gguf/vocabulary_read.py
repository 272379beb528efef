"""The tokenizer files of a checkpoint from GGUF metadata."""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfcli.checkpoints.gguf.vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    ROLES,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
)
from tfcli.checkpoints.gguf.vocabulary_models import BUILDERS, KEY, Vocabulary
from tfcli.checkpoints.strict_json import BUDGET, parse_object
from tfcli.errors import WorkError
from tfcli.files import write_json, write_text

_TEMPLATE, _KEPT = "tokenizer.chat_template", "tokenizer.huggingface.json"
_FOR_A_TOKEN = 1500  # bytes of memory that parsing its part of a tokenizer.json takes, and merges
_TYPES = (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE)


def read_vocabulary(metadata: Mapping[str, Any], where: str) -> Vocabulary | None:
    """The tokenizer of a file; None where it has none.

    Raises:
        WorkError: keys that contradict each other, or a kind that is not covered.
    """
    kind = metadata.get(KEY + "model")
    if kind in (None, "no_vocab", "none"):
        return None
    tokens = metadata.get(KEY + "tokens")
    if not isinstance(tokens, list) or not all(isinstance(text, str) for text in tokens):
        raise WorkError(f"{KEY}tokens: expected texts", where=where)
    types = metadata.get(KEY + "token_type", array("i", [NORMAL]) * len(tokens))
    found = Vocabulary(
        str(kind), str(metadata.get(KEY + "pre", "default")), tokens, types, metadata, where
    )
    if not isinstance(types, array) or len(types) != len(tokens):
        raise found.refuse(KEY + "token_type", "expected a number for each token")
    if set(types) - set(_TYPES):
        raise found.refuse(KEY + "token_type", "a type is not known")
    merges = metadata.get(KEY + "merges")
    template = metadata.get(_TEMPLATE)
    _require_utf8(tokens, found, KEY + "tokens")
    _require_utf8(merges if isinstance(merges, list) else [], found, KEY + "merges")
    _require_utf8([template], found, _TEMPLATE)
    if kind not in BUILDERS:
        raise WorkError(
            f"{KEY}model: {str(kind)[:40]!r} is not covered",
            where=where,
            fix=f"covered are {', '.join(BUILDERS)}; the weights can be converted without it",
        )
    return found


def _require_utf8(texts: Sequence[Any], vocabulary: Vocabulary, key: str) -> None:
    """Refuse bytes that are no UTF-8, which the header's reader keeps as lone surrogates."""
    for index, text in enumerate(texts):
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise vocabulary.refuse(f"{key}[{index}]", "it is not UTF-8 text") from None


def tokenizer_json(vocabulary: Vocabulary) -> dict[str, Any]:
    """The tokenizer.json: the one kept in the file where it belongs to its tokens, else made.

    Raises:
        WorkError: a pre-tokenizer that is not known, or keys that are missing.
    """
    kept = vocabulary.metadata.get(_KEPT)
    if isinstance(kept, str):
        spec = parse_object(
            kept.encode("utf-8", "replace"),
            where=f"{vocabulary.where}: {_KEPT}",
            budget=BUDGET + _FOR_A_TOKEN * len(vocabulary.tokens),
        )
        if _belongs(spec, vocabulary):
            return spec
    spec = BUILDERS[vocabulary.kind](vocabulary)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(vocabulary),
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": _around(vocabulary),
        "decoder": None,
        **spec,
    }


def _belongs(spec: Mapping[str, Any], vocabulary: Vocabulary) -> bool:
    """Whether a tokenizer.json has the file's tokens; the file may have been edited since."""
    model, added_tokens = spec.get("model"), spec.get("added_tokens", [])
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocab, dict) or not isinstance(added_tokens, list):
        return False
    tokens, types = vocabulary.tokens, vocabulary.types
    for text, index in vocab.items():
        if not isinstance(index, int) or not 0 <= index < len(tokens):
            return False
        if types[index] == NORMAL and vocabulary.kind != "bert" and tokens[index] != text:
            return False
    used = sum(kind != UNUSED for kind in types)
    ids = (token.get("id") for token in added_tokens if isinstance(token, dict))
    added = {index for index in ids if isinstance(index, int)}
    return len(set(vocab.values()) | added) == used


def _added(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    return [
        {
            "id": index,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind in (CONTROL, UNKNOWN),
        }
        for index, (text, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True))
        if kind in (CONTROL, USER_DEFINED, UNKNOWN)
    ]


def _around(vocabulary: Vocabulary) -> dict[str, Any] | None:
    """What stands before and after a text."""
    bert = vocabulary.kind == "bert"
    first = (
        vocabulary.role("bos_token")
        if vocabulary.flag("add_bos_token", vocabulary.kind != "gpt2")
        else None
    )
    last_role = "sep_token" if bert and vocabulary.role("sep_token") else "eos_token"
    last = vocabulary.role(last_role) if vocabulary.flag("add_eos_token", bert) else None
    if first is None and last is None:
        return None

    def special(text: str | None, kind: int) -> list[dict[str, Any]]:
        return [] if text is None else [{"SpecialToken": {"id": text, "type_id": kind}}]

    def sequence(name: str, kind: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [*special(first, 0), sequence("A", 0), *special(last, 0)]
    second = special(None if bert else first, 1)
    pair = [*single, *second, sequence("B", 1), *special(last, 1)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {
            text: {"id": text, "ids": [vocabulary.tokens.index(text)], "tokens": [text]}
            for text in (first, last)
            if text is not None
        },
    }


def write_tokenizer(vocabulary: Vocabulary, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, and the chat template in it."""
    spec = tokenizer_json(vocabulary)
    write_text(folder / "tokenizer.json", json.dumps(spec, ensure_ascii=False))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
    }
    for role in ROLES:
        token = vocabulary.role(role)
        if token is not None:
            config[role] = token
    if vocabulary.kind == "bert" and "bos_token" in config:
        config["cls_token"] = config.pop("bos_token")
        config.pop("eos_token", None)
    template = vocabulary.metadata.get(_TEMPLATE)
    if isinstance(template, str):
        config["chat_template"] = template
    write_json(folder / "tokenizer_config.json", config)
