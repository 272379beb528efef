"""The language model's tokenizer and chat templates, taught the encoders' tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from tfcli.errors import WorkError
from tfcli.processors.text import TextSide
from tfcli.tokenizers.chat_media import with_media
from tfcli.tokenizers.declared import ROLES
from tfcli.tokenizers.extend import extend_tokenizer


@dataclasses.dataclass(frozen=True)
class Tokens:
    """The text side of a composed model.

    Args:
        text: the tokenizer with all tokens, and its habits.
        ids: encoder -> the id of its token.
        new: the encoders whose tokens the tokenizer lacked.
    """

    text: TextSide
    ids: Mapping[str, int]
    new: frozenset[str]


def with_tokens(folder: Path, tokens: Mapping[str, str]) -> Tokens:
    """A language model's tokenizer with one token for each encoder.

    Args:
        folder: of the language model.
        tokens: encoder -> its token.

    Raises:
        WorkError: no tokenizer, one that takes no more tokens, or a token with another meaning.
    """
    text = TextSide.from_pretrained(folder)
    before = text.tokenizer
    for name, token in tokens.items():
        known = before.backend.token_to_id(token)
        for role, index in before.special_ids.items():
            if role in ROLES and index == known:
                raise WorkError(
                    f"{token} is the {role} of the language model, and cannot stand for what "
                    f"{name} gives",
                    where=f"model.encoders.{name}.token",
                    fix="choose another token",
                )
    tokenizer = extend_tokenizer(before, special_tokens=list(tokens.values()))
    ids = {}
    for name, token in tokens.items():
        found = tokenizer.encode(token, add_special_tokens=False)
        if len(found) != 1:
            raise WorkError(
                f"the tokenizer cuts {token} into {len(found)} tokens",
                where=f"model.encoders.{name}.token",
                fix="choose another token",
            )
        ids[name] = found[0]
    new = frozenset(n for n, token in tokens.items() if before.backend.token_to_id(token) is None)
    return Tokens(dataclasses.replace(text, tokenizer=tokenizer), ids, new)


def templates_with_media(
    templates: Mapping[str, str], kinds: Mapping[str, str], special_tokens: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Chat templates that write a token where a message has a medium.

    Args:
        templates: name -> Jinja source.
        kinds: type of a message's part -> the token that stands for it.
        special_tokens: as templates take them.

    Returns:
        the templates, and the names of those that were left as they are
    """
    made, left = {}, []
    for name, template in templates.items():
        extended = with_media(template, kinds, special_tokens)
        made[name] = template if extended is None else extended
        left += [name] if extended is None else []
    return made, left
