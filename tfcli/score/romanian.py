"""Romanian texts as the results of WMT16's en-ro are compared.

The steps and their order are those of Sennrich et al. 2016, "Edinburgh Neural Machine Translation
Systems for WMT 16", as fairseq and transformers describe them for mBART: Moses's replacement of
Unicode punctuation, normalization of punctuation and removal of control characters, letters with a
cedilla as letters with a comma, no diacritics, Moses's tokens without escapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from tfcli.errors import UsageError

_COMMAS = str.maketrans("ŞşŢţ", "ȘșȚț")
_PLAIN = str.maketrans("ȘșȚțĂăÂâÎî", "SsTtAaAaIi")


def require_moses() -> None:
    """Refuse the normalization where the package with Moses's scripts is not installed.

    Raises:
        UsageError: naming it.
    """
    if find_spec("sacremoses") is None:
        raise UsageError(
            "normalize: romanian needs a package that is not installed: sacremoses",
            where="normalize",
            fix="pip install 'tfcli[metrics]'",
        )


def romanian_words(texts: Sequence[str]) -> list[str]:
    """Each text as words with spaces between them."""
    from sacremoses import MosesPunctNormalizer, MosesTokenizer

    marks = MosesPunctNormalizer(
        lang="ro", pre_replace_unicode_punct=True, post_remove_control_chars=True
    )
    words = MosesTokenizer(lang="ro")
    return [
        words.tokenize(without_diacritics(marks.normalize(text)), escape=False, return_str=True)
        for text in texts
    ]


def without_diacritics(text: str) -> str:
    """A text with plain letters in place of Romanian ones."""
    return text.translate(_COMMAS).translate(_PLAIN)
