"""The tokenizer of a model that translates, told which languages are read and written."""

from __future__ import annotations

from pathlib import Path

from tfcli.errors import UsageError
from tfcli.tokenizers.declared import read_declared
from tfcli.tokenizers.languages import LANGUAGES
from tfcli.tokenizers.load import Tokenizer, load_tokenizer


def marks_languages(folder: Path | str) -> bool:
    """Whether a tokenizer marks the language of a text by a token."""
    return (read_declared(Path(folder)).family or "") in LANGUAGES


def translating(
    folder: Path | str, source: str | None, target: str | None, where: str
) -> tuple[Tokenizer, int | None]:
    """A tokenizer that marks texts as of one language, and the token of another.

    Args:
        folder: of the tokenizer.
        source: the model's code of the language of the texts; None: as the files say.
        target: that of what is written; None: as the model does by itself.
        where: of the languages, for the error.

    Returns:
        the tokenizer, and the id that a text in the target language begins with

    Raises:
        UsageError: a tokenizer that marks no languages.
        WorkError: a language that the vocabulary does not have; names the nearest.
    """
    declared = read_declared(Path(folder))
    marks = LANGUAGES.get(declared.family or "")
    if marks is None:
        raise UsageError(
            "the model's tokenizer does not mark languages",
            where=where,
            fix="leave them out; models such as T5 are told in words, in the prompt",
        )
    tokenizer = load_tokenizer(folder, language=source)
    if target is None:
        return tokenizer, None
    # As it is loaded, a language that the vocabulary does not have is refused by name.
    written = load_tokenizer(folder, language=target, target=True)
    return tokenizer, written.backend.token_to_id(marks.token.format(target))
