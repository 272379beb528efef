"""The text of a joint processor: its tokenizer, and what the tokenizer's folder says of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json
from tfcli.tokenizers.batch import SIDES, Batch, Side
from tfcli.tokenizers.declared import read_declared, read_object, read_token
from tfcli.tokenizers.load import Tokenizer, load_tokenizer
from tfcli.tokenizers.save import save_tokenizer_json

CONFIG = "tokenizer_config.json"
# Classes that fill up on the left where tokenizer_config.json does not say.
_LEFT = ("CodeLlama", "Cohere", "Gemma", "Llama", "Siglip2", "XLNet")
_LONGEST = 1 << 30  # from here on, model_max_length stands for none


@dataclass(frozen=True)
class TextSide:
    """A tokenizer with the habits of its folder.

    Args:
        tokenizer: text to ids.
        tokens: name -> text of special tokens of other media, such as `image_token`.
        padding_side, truncation_side: where ids are added to short texts, and taken from long ones.
        model_max_length: the length to cut and fill to where a call does not say.
        config: the content of tokenizer_config.json, written back.
    """

    tokenizer: Tokenizer
    tokens: Mapping[str, str] = field(default_factory=dict)
    padding_side: Side = "right"
    truncation_side: Side = "right"
    model_max_length: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> Self:
        """The tokenizer of a folder.

        Raises:
            WorkError: there is none, or a file that cannot be read.
        """
        folder = Path(folder)
        config = read_object(folder, CONFIG)
        family = (read_declared(folder).family or "").removesuffix("Tokenizer")
        return cls(
            tokenizer=load_tokenizer(folder),
            tokens=_tokens(read_object(folder, "special_tokens_map.json"), folder)
            | _tokens(config, folder),
            padding_side=_side(config, "padding_side", "left" if family in _LEFT else "right"),
            truncation_side=_side(config, "truncation_side", "right"),
            model_max_length=_length(config),
            config=config,
        )

    def id_of(self, token: str) -> int:
        """The id of a special token.

        Raises:
            WorkError: the tokenizer lacks it.
        """
        found = self.tokenizer.backend.token_to_id(token)
        if found is None:
            raise WorkError(
                f"the tokenizer has no token {token!r}",
                where=self.tokenizer.file,
                fix="the tokenizer and the processor belong to different models",
            )
        return found

    def batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        padding: bool | str | None = True,
        padding_side: Side | None = None,
        truncation: bool | None = False,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        add_special_tokens: bool = True,
    ) -> Batch:
        """The ids of texts, cut and filled up as transformers' tokenizers do.

        Args:
            texts, pairs: as `Tokenizer.batch` takes them.
            padding: to the longest (True, "longest"), to `max_length` ("max_length"), or not.
            padding_side: left out, the tokenizer's.
            truncation: cut to `max_length`.
            max_length: left out, that of the tokenizer's model.
            pad_to_multiple_of, add_special_tokens: as `Tokenizer.batch` takes them.

        Raises:
            UsageError: arguments that contradict each other.
            WorkError: as `Tokenizer.batch`.
        """
        if padding not in (True, False, None, "longest", "max_length", "do_not_pad"):
            raise UsageError(f"padding is {padding!r}", where="padding", fix="give True or False")
        if truncation not in (True, False, None):
            raise UsageError(f"truncation is {truncation!r}", where="truncation", fix="give True")
        fixed = padding == "max_length"
        longest = max_length or self.model_max_length
        if longest is None and (fixed or truncation):
            raise UsageError("is needed to cut and fill texts to it", where="max_length")
        if fixed:
            pad_to_multiple_of = longest
        fills = padding in (True, "longest", "max_length")
        return self.tokenizer.batch(
            texts,
            pairs,
            max_length=longest if truncation else None,
            truncation=self.truncation_side if truncation else None,
            padding=(padding_side or self.padding_side) if fills else None,
            pad_to_multiple_of=pad_to_multiple_of if fills else None,
            add_special_tokens=add_special_tokens,
        )

    def save_pretrained(self, folder: Path | str) -> None:
        """Write tokenizer.json and tokenizer_config.json.

        Raises:
            WorkError: a tokenizer that a tokenizer.json cannot express.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        limit = {"model_max_length": self.model_max_length} if self.model_max_length else {}
        sides = {"padding_side": self.padding_side, "truncation_side": self.truncation_side}
        write_json(folder / CONFIG, {**self.config, **self.tokens, **sides, **limit})
        save_tokenizer_json(self.tokenizer, folder)


def as_rows(entries: Sequence[Sequence[int]]) -> Tensor:
    """Lists of one length as a tensor [b, s].

    Raises:
        UsageError: their lengths differ.
    """
    lengths = {len(each) for each in entries}
    if len(lengths) > 1:
        raise UsageError(
            f"the texts have {min(lengths)} to {max(lengths)} ids, and are not filled up",
            where="padding",
            fix="give padding=True",
        )
    return torch.tensor(entries, dtype=torch.int64)


def _tokens(config: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Name -> text of all tokens with a name, wherever the file has them."""
    named = {key: value for key, value in config.items() if key.endswith("_token") and value}
    for key in ("extra_special_tokens", "model_specific_special_tokens"):
        if isinstance(config.get(key), dict):
            named |= config[key]
    where = str(folder / CONFIG)
    return {key: read_token(value, where).content for key, value in named.items()
            if isinstance(value, str | dict)}  # fmt: skip


def _length(config: Mapping[str, Any]) -> int | None:
    value = config.get("model_max_length")
    return int(value) if isinstance(value, int | float) and 0 < value < _LONGEST else None


def _side(config: Mapping[str, Any], key: str, default: Side) -> Side:
    value = config.get(key, default)
    if value not in SIDES:
        raise WorkError(f"{key} is {str(value)[:40]!r}, not left or right", where=CONFIG)
    side: Side = value
    return side
