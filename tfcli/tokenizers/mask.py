"""The token that stands for a hidden one."""

from __future__ import annotations

from tfcli.errors import UsageError
from tfcli.tokenizers.load import Tokenizer


def mask_id(tokenizer: Tokenizer, where: str) -> int:
    """The id of the mask token.

    Args:
        where: the key that names the tokenizer.

    Raises:
        UsageError: the tokenizer declares none.
    """
    found = tokenizer.special_ids.get("mask_token")
    if found is None:
        raise UsageError(
            "the tokenizer declares no mask_token, which a masked language model needs",
            where=where,
            fix="add mask_token to tokenizer_config.json",
        )
    return found
