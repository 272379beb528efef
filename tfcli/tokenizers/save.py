"""Writing a tokenizer in the format that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.errors import WorkError
from tfcli.files import read_json, write_json, write_text

if TYPE_CHECKING:
    from tfcli.tokenizers.load import Tokenizer


def save_tokenizer_json(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer as the tokenizer.json and tokenizer_config.json that other tools read.

    Keys of a tokenizer_config.json that is there already are kept.

    Raises:
        WorkError: a tokenizer that a tokenizer.json cannot express.
    """
    if tokenizer.pieces is not None:
        raise WorkError(
            "it cuts text with a SentencePiece model and numbers the pieces itself; "
            "a tokenizer.json cannot say that",
            where=str(folder),
            fix="keep its own files",
        )
    write_text(folder / "tokenizer.json", tokenizer.backend.to_str(pretty=True))
    path = folder / "tokenizer_config.json"
    config = read_json(path) if path.exists() else {}
    config |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{
            role: tokenizer.backend.id_to_token(index)
            for role, index in tokenizer.special_ids.items()
        },
    }
    config.setdefault("clean_up_tokenization_spaces", False)
    if tokenizer.backend.encode_special_tokens:
        config["split_special_tokens"] = True
    if tokenizer.chat_template is not None:
        config["chat_template"] = tokenizer.chat_template
    write_json(path, config)
