"""Writing a tokenizer in the format that other tools read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, models
from tokenizers import Tokenizer as Backend

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
    older = [folder / name for name in ("special_tokens_map.json", "added_tokens.json")]
    if "added_tokens_decoder" in config or any(file.exists() for file in older):
        # Complete, so that what these files said before counts no more.
        config["added_tokens_decoder"] = {
            str(index): _written_token(token)
            for index, token in sorted(tokenizer.backend.get_added_tokens_decoder().items())
        }
    config.setdefault("clean_up_tokenization_spaces", False)
    if tokenizer.backend.encode_special_tokens:
        config["split_special_tokens"] = True
    if tokenizer.chat_templates:
        config["chat_template"] = written_templates(tokenizer.chat_templates)
    write_json(path, config)


def _written_token(token: AddedToken) -> dict[str, Any]:
    flags = ("lstrip", "rstrip", "single_word", "normalized", "special")
    return {"content": token.content, **{flag: getattr(token, flag) for flag in flags}}


def save_vocabulary(backend: Backend, folder: Path) -> list[str]:
    """Write a vocabulary in its own files, which tools without a reader of tokenizer.json take.

    They are vocab.json and merges.txt of a byte-level BPE, vocab.txt of a WordPiece. A Unigram's is
    a SentencePiece model, which a tokenizer.json does not give back.

    Returns:
        the names of the files; none where the tokenizer has no such files

    Raises:
        WorkError: ids with holes, where a file numbers its tokens by lines.
    """
    model = backend.model
    bytewise = isinstance(model, models.BPE) and not model.byte_fallback
    if not bytewise and not isinstance(model, models.WordPiece):
        return []
    if isinstance(model, models.WordPiece):
        ids = sorted(backend.get_vocab(with_added_tokens=False).values())
        if ids != list(range(len(ids))):
            raise WorkError(
                "its ids have holes, which the lines of a vocab.txt cannot have", where=str(folder)
            )
    return [Path(name).name for name in model.save(str(folder))]


def written_templates(templates: Mapping[str, str]) -> str | list[dict[str, str]]:
    """Chat templates as tokenizer_config.json has them: the only one, or a list with names."""
    if templates.keys() == {"default"}:
        return templates["default"]
    return [{"name": name, "template": template} for name, template in templates.items()]
