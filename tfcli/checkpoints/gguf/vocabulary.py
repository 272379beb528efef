"""The tokenizer of a checkpoint as GGUF metadata.

What llama.cpp reads: `gpt2`, byte-level BPE with its merges and the name of its pre-tokenizer;
`llama`, SentencePiece's BPE with a score for each piece; `bert`, WordPiece. Beside these keys the
whole tokenizer.json is kept under `tokenizer.huggingface.json`, a key of the GGUF specification, so
that it comes back as it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcli.checkpoints.gguf.endings import require_rows, write_endings
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.pretokenizers import PATTERNS, name_of
from tfcli.checkpoints.gguf.templates import write_templates
from tfcli.errors import WorkError
from tfcli.tokenizers.chat_folder import find_templates

if TYPE_CHECKING:
    from tfcli.tokenizers.load import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "▁"
_GGML = "tokenizer.ggml."
WITHOUT = "or --no-tokenizer, which leaves the tokenizer out"
NO_VOCABULARY = "no_vocab"  # llama.cpp's word for it
MAX_JSON = 32 << 20  # bytes of a tokenizer.json that is kept whole
ROLES = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",  # sic
    "pad_token": "padding_token_id",
    "mask_token": "mask_token_id",
}
"""Role -> key below `tokenizer.ggml.`."""
_BYTES = {f"<0x{byte:02X}>" for byte in range(256)}


@dataclass(frozen=True)
class _Tokens:
    texts: list[str]
    types: list[int]
    dropped: dict[int, str]


def write_vocabulary(
    tokenizer: Tokenizer,
    vocab_size: int,
    where: str,
    *,
    stops: Sequence[int] = (),
    folder: Path | None = None,
) -> tuple[dict[str, Value], list[str]]:
    """The metadata of a tokenizer whose model has `vocab_size` embedding rows.

    Args:
        tokenizer: the checkpoint's.
        vocab_size: rows of the embedding.
        where: the checkpoint, for errors.
        stops: the ids that end a text.
        folder: with the chat templates and generation_config.json.

    Returns:
        The keys, and what the user should know.

    Raises:
        WorkError: a kind of tokenizer that llama.cpp does not have, or a token that ends a text
            and has no row.
    """
    whole = tokenizer.backend.to_str()
    spec: dict[str, Any] = json.loads(whole)
    model = spec["model"]
    tokens = _tokens(spec, tokenizer.backend.get_vocab(with_added_tokens=True), vocab_size)
    if model["type"] == "WordPiece":
        found = _wordpiece(tokens, tokenizer, spec)
    elif model["type"] == "BPE" and model.get("byte_fallback"):
        found = _sentencepiece(tokens, spec)
    elif model["type"] == "BPE":
        found = _byte_level(tokens, tokenizer, spec, where)
    else:
        raise WorkError(
            f"a tokenizer of the kind {model['type']} is not covered in GGUF",
            where=where,
            fix=f"covered are byte-level BPE, SentencePiece's BPE and WordPiece; {WITHOUT}",
        )
    notes = require_rows(stops, tokenizer.special_ids, tokens.dropped, where)
    found |= _specials(tokenizer, vocab_size, model)
    eos = found.get(f"{_GGML}eos_token_id")
    ends = [each for each in stops if 0 <= each < vocab_size]
    keys, said = write_endings(ends, None if eos is None else eos.value, tokens.texts, folder)
    found |= keys
    found |= write_templates({} if folder is None else find_templates(folder))
    if len(whole.encode()) <= MAX_JSON and not tokens.dropped:
        found["tokenizer.huggingface.json"] = Value("string", whole)
    return found, [*notes, *said, *_surroundings(tokenizer)]


def no_vocabulary() -> dict[str, Value]:
    """The metadata of a model without a tokenizer: llama.cpp then takes and gives ids only."""
    return {"tokenizer.ggml.model": Value("string", NO_VOCABULARY)}


def _tokens(spec: dict[str, Any], vocab: dict[str, int], size: int) -> _Tokens:
    texts = [f"[PAD{index}]" for index in range(size)]
    types = [UNUSED] * size
    dropped = {}
    for text, index in vocab.items():
        if index >= size:
            dropped[index] = text
            continue
        texts[index], types[index] = text, NORMAL
    for token in spec.get("added_tokens", []):
        if token["id"] < size:
            special = token["special"] or _looks_special(token["content"])
            types[token["id"]] = CONTROL if special else USER_DEFINED
    return _Tokens(texts, types, dropped)


def _looks_special(text: str) -> bool:
    # Tokens that releases forgot to mark as special; llama.cpp's conversion knows them by sight.
    return text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]") or any(
        text.startswith(begin) and text.endswith(end)
        for begin, end in (("<|", "|>"), ("<\uff5c", "\uff5c>"), ("<unused", ">"))
    )


def _common(model: str, pre: str, tokens: _Tokens) -> dict[str, Value]:
    return {
        "tokenizer.ggml.model": Value("string", model),
        "tokenizer.ggml.pre": Value("string", pre),
        "tokenizer.ggml.tokens": Value("array[string]", tokens.texts),
        "tokenizer.ggml.token_type": Value("array[int32]", tokens.types),
    }


def _merges(spec: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for merge in spec["model"].get("merges", []):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        found.append((left, right))
    return found


def _byte_level(
    tokens: _Tokens, tokenizer: Tokenizer, spec: dict[str, Any], where: str
) -> dict[str, Value]:
    pre = name_of(tokenizer.encode, spec)
    if pre is None:
        raise WorkError(
            "llama.cpp has no name for how this tokenizer cuts text into words",
            where=where,
            fix=f"covered are {', '.join(PATTERNS)} and names of the same; {WITHOUT}",
        )
    # A space inside a part would end it; llama.cpp spells it as byte-level BPE does.
    merges = [" ".join(part.replace(" ", "Ġ") for part in merge) for merge in _merges(spec)]
    return {
        **_common("gpt2", pre, tokens),
        "tokenizer.ggml.merges": Value("array[string]", merges),
        "tokenizer.ggml.add_space_prefix": Value("bool", False),
    }


def _sentencepiece(tokens: _Tokens, spec: dict[str, Any]) -> dict[str, Value]:
    """llama.cpp joins the neighbours whose piece has the highest score: minus the merge's rank."""
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(_merges(spec)):
        ranks.setdefault(left + right, rank)
    lowest = -float(len(ranks) + 1000)
    # Ranks of pieces, not of merges, keep the numbers small enough to be exact in float32.
    place = {piece: number for number, piece in enumerate(sorted(ranks, key=ranks.__getitem__))}
    scores, types = [], list(tokens.types)
    unk = spec["model"].get("unk_token")
    if unk in tokens.texts:
        types[tokens.texts.index(unk)] = UNKNOWN
    for index, text in enumerate(tokens.texts):
        if text in _BYTES and types[index] == NORMAL:
            types[index] = BYTE
        known = types[index] == NORMAL and text in place
        scores.append(-float(place[text]) if known else 0.0 if len(text) == 1 else lowest)
    texts = [
        text.replace(SPACE, " ") if kind == USER_DEFINED else text
        for text, kind in zip(tokens.texts, types, strict=True)
    ]
    return {
        **_common("llama", "default", _Tokens(texts, types, {})),
        "tokenizer.ggml.scores": Value("array[float32]", scores),
        "tokenizer.ggml.add_space_prefix": Value("bool", _prefixes_space(spec)),
    }


def _prefixes_space(spec: dict[str, Any]) -> bool:
    words = spec.get("pre_tokenizer") or {}
    if words.get("type") == "Metaspace":
        return words.get("prepend_scheme", "always") != "never"
    steps = spec.get("normalizer") or {}
    return any(step.get("type") == "Prepend" for step in steps.get("normalizers", [steps]))


def _wordpiece(tokens: _Tokens, tokenizer: Tokenizer, spec: dict[str, Any]) -> dict[str, Value]:
    """Beginnings of words are marked, not continuations."""
    mark = spec["model"].get("continuing_subword_prefix", "##")
    texts = []
    for text, kind in zip(tokens.texts, tokens.types, strict=True):
        if kind in (CONTROL, UNUSED):
            texts.append(text)
        else:
            texts.append(text.removeprefix(mark) if text.startswith(mark) else SPACE + text)
    pre = name_of(tokenizer.encode, spec) or "default"
    steps = spec.get("normalizer") or {}
    lowercase = steps.get("lowercase") is True
    strips = steps.get("strip_accents")
    return {
        **_common("bert", pre, _Tokens(texts, tokens.types, {})),
        f"{_GGML}normalizer.lowercase": Value("bool", lowercase),
        f"{_GGML}normalizer.strip_accents": Value("bool", lowercase if strips is None else strips),
    }


def _specials(tokenizer: Tokenizer, size: int, model: Mapping[str, Any]) -> dict[str, Value]:
    ids = dict(tokenizer.special_ids)
    begins, ends = tokenizer.prefix, tokenizer.suffix
    wordpiece = model["type"] == "WordPiece"
    # A token that is put around every text is one, whether or not it is declared.
    unknown = tokenizer.backend.token_to_id(model.get("unk_token") or "")
    if unknown is not None:
        ids.setdefault("unk_token", unknown)
    if wordpiece and len(ends) == 1:
        ids.setdefault("sep_token", ends[0])
    ids.setdefault("bos_token", ids.get("cls_token", begins[0] if len(begins) == 1 else size))
    ids.setdefault("eos_token", ids.get("sep_token", ends[0] if len(ends) == 1 else size))
    found = {
        f"tokenizer.ggml.{key}": Value("uint32", ids[role])
        for role, key in ROLES.items()
        if ids.get(role, size) < size
    }
    found["tokenizer.ggml.add_bos_token"] = Value("bool", begins == (ids["bos_token"],))
    found["tokenizer.ggml.add_eos_token"] = Value("bool", ends == (ids["eos_token"],))
    if wordpiece or "cls_token" in ids:
        found["tokenizer.ggml.add_sep_token"] = Value("bool", ends == (ids.get("sep_token"),))
    return found


def _surroundings(tokenizer: Tokenizer) -> list[str]:
    """What stands around a text and no flag of GGUF says."""
    ids = tokenizer.special_ids
    odd = [
        f"{where} a text: {', '.join(map(str, found))}"
        for where, found, roles in (
            ("before", tokenizer.prefix, ("bos_token", "cls_token")),
            ("after", tokenizer.suffix, ("eos_token", "sep_token")),
        )
        if len(found) > 1
        or (found and any(r in ids for r in roles) and found[0] not in map(ids.get, roles))
    ]
    return [f"llama.cpp does not put these ids {each}" for each in odd]
