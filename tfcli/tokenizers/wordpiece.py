"""vocab.txt: one WordPiece token a line, its id the line's number (Devlin et al. 2019)."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from tfcli.errors import WorkError, hint
from tfcli.limits import MAX_TOKEN
from tfcli.tokenizers.bounded import read_lines
from tfcli.tokenizers.declared import Declared
from tfcli.tokenizers.special import (
    BERT,
    LIKE_BERT,
    add_tokens,
    fill_holes,
    role_text,
    template,
)

FURTHER = {"BertTokenizer": (), "TapasTokenizer": ("[EMPTY]",)}
"""Class -> special tokens beside those of Bert."""


def load_wordpiece(file: Path, declared: Declared) -> tuple[Backend, dict[str, int]]:
    """Build the tokenizer of a vocab.txt.

    Returns:
        the backend, and role -> id of its special tokens

    Raises:
        WorkError: a class that is not covered, a broken file, or one without its special tokens.
    """
    family = declared.family or "BertTokenizer"
    if family not in FURTHER:
        raise WorkError(
            f"tokenizer_class {family} with a vocab.txt is not covered",
            where=str(file),
            fix=f"use a folder with a tokenizer.json; {hint(family, FURTHER)}",
        )
    vocab = fill_holes(read_vocab(file), declared)
    unk = role_text(declared, BERT, "unk_token")
    if unk not in vocab:
        raise WorkError(
            f"there is no {unk}, the token for unknown words",
            where=str(file),
            fix="is it a vocabulary of WordPieces? name its own in tokenizer_config.json",
        )
    backend = Backend(models.WordPiece(vocab, unk_token=unk))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=declared.flag("tokenize_chinese_chars", True),
        strip_accents=declared.choice("strip_accents"),
        lowercase=declared.flag("do_lower_case", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    further = [AddedToken(token, special=True) for token in FURTHER[family]]
    ids = add_tokens(backend, declared, BERT, further)
    backend.post_processor = template(backend, ids, *LIKE_BERT)
    return backend, ids


def read_vocab(file: Path) -> dict[str, int]:
    """Token -> id. Of equal lines the last one counts, as in the first Bert.

    Raises:
        WorkError: no file of tokens; the error names the line.
    """
    vocab = {}
    for number, line in enumerate(read_lines(file)):
        token = line.rstrip()
        if len(token) > MAX_TOKEN:
            raise WorkError("is too long for a token", where=f"{file}, line {number + 1}")
        if "\0" in token:
            raise WorkError("is binary data, no token", where=f"{file}, line {number + 1}")
        vocab[token] = number
    if not any(vocab):
        raise WorkError("there is no token in it", where=str(file))
    return vocab
