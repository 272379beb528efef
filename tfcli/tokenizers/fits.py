"""Whether a model has an embedding for every id that a tokenizer gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfcli.errors import WorkError

if TYPE_CHECKING:
    from tfcli.models.config import BaseConfig
    from tfcli.tokenizers.load import Tokenizer


def check_fits(tokenizer: Tokenizer, config: BaseConfig, where: str) -> None:
    """Refuse a tokenizer whose ids go past the embedding table of a model.

    Added tokens may: some checkpoints have tokens of another modality that their text model
    lacks. A text with one of these is refused by `check_ids`.

    Args:
        tokenizer: of the folder.
        config: of the whole model.
        where: what the user named.

    Raises:
        WorkError: an ordinary token or one that surrounds every text has no embedding.
    """
    ordinary = tokenizer.backend.get_vocab(with_added_tokens=False).values()
    around = (*tokenizer.prefix, *tokenizer.suffix)
    largest = max((*ordinary, *around), default=-1)
    rows = config.text.token_id_limit
    if largest >= rows:
        raise WorkError(
            f"the tokenizer has ids up to {largest:,}, but the model has {rows:,} embeddings",
            where=where,
            fix="the tokenizer and the weights belong to different models",
        )


def check_ids(ids: Sequence[int], config: BaseConfig, where: str) -> None:
    """Refuse ids that a model has no embedding for.

    The ids of a medium's features may lie past the table: no row of it is read for them.

    Args:
        ids: of a text.
        config: of the whole model.
        where: what the user named.

    Raises:
        WorkError: there is such an id.
    """
    rows, features = config.text.token_id_limit, config.media_tokens.values()
    largest = max((id for id in ids if id not in features), default=-1)
    if largest >= rows:
        raise WorkError(
            f"the tokenizer gives id {largest}, but the model has {rows:,}",
            where=where,
            fix="the tokenizer and the weights belong to different models",
        )
