"""Whether a model has an embedding for every id that a tokenizer gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfcli.errors import WorkError

if TYPE_CHECKING:
    from tfcli.models.configs.text import TextConfig
    from tfcli.tokenizers.load import Tokenizer


def check_fits(tokenizer: Tokenizer, config: TextConfig, where: str) -> None:
    """Refuse a tokenizer whose ids go past the embedding table of a model.

    Added tokens may: some checkpoints have tokens of another modality that their text model
    lacks. A text with one of these is refused by `check_ids`.

    Raises:
        WorkError: an ordinary token or one that surrounds every text has no embedding.
    """
    ordinary = tokenizer.backend.get_vocab(with_added_tokens=False).values()
    around = (*tokenizer.prefix, *tokenizer.suffix)
    largest = max((*ordinary, *around), default=-1)
    if largest >= config.token_id_limit:
        raise WorkError(
            f"the tokenizer has ids up to {largest:,}, but the model has "
            f"{config.token_id_limit:,} embeddings",
            where=where,
            fix="the tokenizer and the weights belong to different models",
        )


def check_ids(ids: Sequence[int], config: TextConfig, where: str) -> None:
    """Refuse ids that a model has no embedding for.

    Raises:
        WorkError: there is such an id.
    """
    largest = max(ids, default=-1)
    if largest >= config.token_id_limit:
        raise WorkError(
            f"the tokenizer gives id {largest}, but the model has {config.token_id_limit:,}",
            where=where,
            fix="the tokenizer and the weights belong to different models",
        )
