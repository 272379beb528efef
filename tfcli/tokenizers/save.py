"""Writing a tokenizer in the format that other tools read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tfcli.checkpoints.strict_json import read_json
from tfcli.errors import WorkError
from tfcli.files import write_json, write_text

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
    if tokenizer.chat_templates:
        config["chat_template"] = written_templates(tokenizer.chat_templates)
    write_json(path, config)


def written_templates(templates: Mapping[str, str]) -> str | list[dict[str, str]]:
    """Chat templates as tokenizer_config.json has them: the only one, or a list with names."""
    if templates.keys() == {"default"}:
        return templates["default"]
    return [{"name": name, "template": template} for name, template in templates.items()]
