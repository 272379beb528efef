"""What the files beside a vocabulary say: which class it is for, its special and added tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from tfcli.checkpoints.strict_json import BUDGET, read_json
from tfcli.errors import WorkError
from tfcli.files import inside
from tfcli.limits import MAX_ID, MAX_SIDE

ROLES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "eot_token",
)
"""The order in which special tokens that a vocabulary lacks are appended to it."""

CLASS_OF_MODEL_TYPE = {
    "albert": "AlbertTokenizer",
    "bart": "RobertaTokenizer",
    "bert": "BertTokenizer",
    "blenderbot": "BlenderbotTokenizer",
    "camembert": "CamembertTokenizer",
    "codegen": "GPT2Tokenizer",
    "cohere": "CohereTokenizer",
    "cohere2": "CohereTokenizer",
    "convbert": "BertTokenizer",
    "deberta": "DebertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "distilbert": "BertTokenizer",
    "electra": "BertTokenizer",
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "gpt2": "GPT2Tokenizer",
    "gpt_neo": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer",
    "gptj": "GPT2Tokenizer",
    "layoutlm": "BertTokenizer",
    "llama": "LlamaTokenizer",
    "m2m_100": "M2M100Tokenizer",
    "mamba": "GPTNeoXTokenizer",
    "mamba2": "GPTNeoXTokenizer",
    "marian": "MarianTokenizer",
    "mbart": "MBartTokenizer",
    "mistral": "LlamaTokenizer",
    "mixtral": "LlamaTokenizer",
    "mt5": "T5Tokenizer",
    "olmoe": "GPTNeoXTokenizer",
    "opt": "GPT2Tokenizer",
    "pegasus": "PegasusTokenizer",
    "phi": "GPT2Tokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen2_moe": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "qwen3_moe": "Qwen2Tokenizer",
    "roberta": "RobertaTokenizer",
    "rwkv": "GPTNeoXTokenizer",
    "starcoder2": "GPT2Tokenizer",
    "t5": "T5Tokenizer",
    "tapas": "TapasTokenizer",
    "whisper": "WhisperTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}

SAME_CLASS = {
    "BartTokenizer": "RobertaTokenizer",
    "ConvBertTokenizer": "BertTokenizer",
    "DistilBertTokenizer": "BertTokenizer",
    "ElectraTokenizer": "BertTokenizer",
    "LEDTokenizer": "RobertaTokenizer",
    "LayoutLMTokenizer": "BertTokenizer",
    "LongformerTokenizer": "RobertaTokenizer",
    "MT5Tokenizer": "T5Tokenizer",
    "MobileBertTokenizer": "BertTokenizer",
    "TapexTokenizer": "RobertaTokenizer",
}
"""Classes that tokenize as another one does."""

GENERIC = ("PreTrainedTokenizer", "PythonBackend", "SentencePieceBackend", "TokenizersBackend")
"""Classes that say nothing about the tokenizer."""


@dataclass(frozen=True)
class Declared:
    """What a folder says about its tokenizer outside of the vocabulary.

    Args:
        folder: where the files are.
        config: the content of tokenizer_config.json.
        family: the class whose particulars hold, without `Fast`; None where nothing says.
        named: role -> token. A role that is declared as having none has None.
        added: id -> added token.
        extra: further special tokens.
    """

    folder: Path
    config: Mapping[str, Any]
    family: str | None
    named: Mapping[str, AddedToken | None]
    added: Mapping[int, AddedToken]
    extra: tuple[AddedToken, ...]

    def flag(self, key: str, default: bool) -> bool:
        """A yes-or-no key of tokenizer_config.json; null says nothing."""
        value = self.choice(key)
        return default if value is None else value

    def choice(self, key: str) -> bool | None:
        """A key of tokenizer_config.json that is yes, no, or null for neither."""
        value = self.config.get(key)
        if value is not None and not isinstance(value, bool):
            raise WorkError(f"{key} must be true or false, not {value!r}", where=self.config_file)
        return value

    @property
    def config_file(self) -> str:
        """The path of tokenizer_config.json, for errors."""
        return str(self.folder / "tokenizer_config.json")


def read_declared(folder: Path) -> Declared:
    """Read tokenizer_config.json, special_tokens_map.json, added_tokens.json and config.json.

    Where tokenizer_config.json lists its added tokens, it is complete and the older two files do
    not count, as in transformers.

    Raises:
        WorkError: a file that cannot be read, or a value of the wrong type.
    """
    config = read_object(folder, "tokenizer_config.json")
    older = (
        {} if "added_tokens_decoder" in config else read_object(folder, "special_tokens_map.json")
    )
    where = str(folder / "tokenizer_config.json")
    names = {**config, **older}
    extra = [*_extra(config, where), *_extra(older, str(folder / "special_tokens_map.json"))]
    named = {role: _optional_token(names[role], where) for role in ROLES if role in names}
    special = {token.content for token in (*named.values(), *extra) if token is not None}
    if "added_tokens_decoder" in config:
        added = _added(config["added_tokens_decoder"], where)
    else:
        added = _added_older(read_object(folder, "added_tokens.json"), special, folder)
    known = {token.content: token for token in added.values()}
    for role, token in named.items():
        if token is not None:
            named[role] = known.get(token.content, token)
    return Declared(
        folder=folder,
        config=config,
        family=_family(config, read_object(folder, "config.json")),
        named=named,
        added=added,
        extra=tuple({token.content: token for token in extra}.values()),
    )


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file of the folder; empty when there is no such file."""
    path = inside(folder, name)
    value = read_json(path, limit=MAX_SIDE, budget=BUDGET) if path.exists() else {}
    if not isinstance(value, dict):
        raise WorkError("expected a JSON object", where=str(path))
    return value


def read_token(value: Any, where: str, special: bool = True) -> AddedToken:
    """A token that is declared as text or as an object with `content` and its flags."""
    if isinstance(value, str):
        value = {"content": value}
    if isinstance(value, AddedToken):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        raise WorkError(f"{str(value)[:60]} is no token", where=where)
    flags = {key: value[key] for key in ("lstrip", "rstrip", "single_word", "normalized")
             if value.get(key) is not None}  # fmt: skip
    if not value["content"] or not all(isinstance(flag, bool) for flag in flags.values()):
        raise WorkError(f"{str(value)[:60]} is no token", where=where)
    return AddedToken(value["content"], special=special, **flags)


def _optional_token(value: Any, where: str) -> AddedToken | None:
    return None if value is None else read_token(value, where)


def _extra(config: Mapping[str, Any], where: str) -> Iterable[AddedToken]:
    """Special tokens without one of the usual roles; those with a name come first."""
    for key, value in config.items():
        if key.endswith("_token") and key not in ROLES and isinstance(value, str | dict) and value:
            yield read_token(value, where)
    keys = ("extra_special_tokens", "additional_special_tokens")
    listed = [config.get(key) or [] for key in keys]
    for tokens in sorted(listed, key=lambda tokens: not isinstance(tokens, dict)):
        if not isinstance(tokens, list | dict):
            raise WorkError(f"{' and '.join(keys)} must be lists of tokens", where=where)
        for token in tokens.values() if isinstance(tokens, dict) else tokens:
            yield read_token(token, where)


def _added(listed: Any, where: str) -> dict[int, AddedToken]:
    if not isinstance(listed, dict):
        raise WorkError("added_tokens_decoder must be an object of ids", where=where)
    added = {}
    for key, value in listed.items():
        at = f"{where}, added_tokens_decoder, {str(key)[:40]}"
        if not key.isascii() or not key.isdigit() or len(key) > 9 or int(key) >= MAX_ID:
            raise WorkError(f"is no id in 0..{MAX_ID - 1:,}", where=at)
        special = isinstance(value, dict) and value.get("special") is True
        added[int(key)] = read_token(value, at, special=special)
    _refuse_twice(added, where)
    return dict(sorted(added.items()))


def _added_older(
    listed: Mapping[str, Any], special: set[str], folder: Path
) -> dict[int, AddedToken]:
    added: dict[int, AddedToken] = {}
    for content, index in listed.items():
        where = f"{folder / 'added_tokens.json'}, token {content[:40]!r}"
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < MAX_ID:
            raise WorkError(f"the id {str(index)[:40]} is not in 0..{MAX_ID - 1:,}", where=where)
        if index in added:
            raise WorkError(f"has the id {index} of {added[index].content[:40]!r}", where=where)
        added[index] = read_token(content, where, special=content in special)
    return dict(sorted(added.items()))


def _refuse_twice(added: Mapping[int, AddedToken], where: str) -> None:
    owner: dict[str, int] = {}
    for index, token in added.items():
        if token.content in owner:
            raise WorkError(
                f"the added token {token.content[:40]!r} has two ids, "
                f"{owner[token.content]} and {index}",
                where=where,
            )
        owner[token.content] = index


def _family(config: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    model_type = model.get("model_type")
    if model_type == "siglip2":  # released folders name Gemma's, which keeps capitals
        return "Siglip2Tokenizer"
    for name in (config.get("tokenizer_class"), model.get("tokenizer_class")):
        plain = name.removesuffix("Fast") if isinstance(name, str) else None
        if plain and plain not in GENERIC:
            return SAME_CLASS.get(plain, plain)
    return CLASS_OF_MODEL_TYPE.get(model_type) if isinstance(model_type, str) else None
