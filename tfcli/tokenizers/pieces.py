"""Models whose pieces have ids of their own: Marian and M2M-100.

A SentencePiece model cuts the text, and a vocab.json gives the pieces their ids. Its ids are in no
order of the model, so the sentencepiece library does the cutting, as a pre-tokenizer. Such a
tokenizer cannot be written as a tokenizer.json.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tokenizers import (
    NormalizedString,
    PreTokenizedString,
    Regex,
    decoders,
    models,
    pre_tokenizers,
)
from tokenizers import Tokenizer as Backend

from tfcli.errors import WorkError
from tfcli.tokenizers.bounded import read_vocab_json
from tfcli.tokenizers.declared import Declared
from tfcli.tokenizers.languages import M2M100
from tfcli.tokenizers.special import add_tokens, fill_holes, role_text, template
from tfcli.tokenizers.spm import SPACE
from tfcli.tokenizers.spm_model import SpmModel, read_spm

MARIAN = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
M2M = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
}


class SentencePieces:
    """Cuts text as a SentencePiece model does; a pre-tokenizer of the tokenizers library.

    Args:
        model: the model.
        language_code: a text may begin with a code such as `>>fra<<`, which stays whole.
    """

    def __init__(self, model: SpmModel, language_code: bool) -> None:
        import sentencepiece  # only these models need it

        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model.data)
        except (RuntimeError, OSError, ValueError) as error:
            raise WorkError(
                f"sentencepiece cannot read it: {error}", where=str(model.file)
            ) from None
        self._language_code = language_code

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        """Called by the library for each text."""
        text.split(self._split)

    def _split(self, _: int, text: NormalizedString) -> list[NormalizedString]:
        plain = str(text)
        start = 0
        if self._language_code and plain.startswith(">>") and "<<" in plain:
            start = plain.index("<<") + 2
        found = self._processor.encode(plain[start:], return_type="offset_mapping")
        parts = [_spelt(text, 0, start, plain[:start])] if start else []
        for piece, (begin, end) in zip(found["pieces"], found["offsets"], strict=True):
            begin, end = begin + start, end + start
            if begin == end:  # it has no place of its own in the text; the library wants one
                begin = min(begin, len(plain) - 1)
                end = begin + 1
            parts.append(_spelt(text, begin, end, piece))
        return parts


def _spelt(text: NormalizedString, begin: int, end: int, piece: str) -> NormalizedString:
    """A part of a text with the spelling of its piece; its ends keep their places."""
    part = text.slice((begin, end))
    if part is None:
        raise WorkError("sentencepiece names a place outside of the text")
    part.replace(" ", SPACE)
    if str(part) == piece:
        return part
    if SPACE + str(part) == piece:
        part.prepend(SPACE)
        return part
    surplus = end - begin - len(piece)
    if surplus > 0:
        kept = iter([True] * (len(piece) - 1) + [False] * surplus + [True])
        part.filter(lambda _: next(kept))
    letters = iter(piece)
    part.map(lambda _: next(letters))
    if surplus < 0:
        part.append(piece[surplus:])
    return part


def load_marian(
    spm_file: Path, vocab_file: Path, declared: Declared
) -> tuple[Backend, dict[str, int], str]:
    """Build the tokenizer of a source.spm or target.spm and vocab.json (Tiedemann et al. 2020).

    Returns:
        the backend, role -> id of its special tokens, and the SHA-256 of the model

    Raises:
        WorkError: broken files, or a vocabulary for each side.
    """
    if declared.flag("separate_vocabs", False):
        raise WorkError("separate_vocabs is not covered", where=declared.config_file)
    vocab = read_vocab_json(vocab_file)
    return _build(read_spm(spm_file), vocab_file, vocab, declared, MARIAN)


def load_m2m(
    spm_file: Path, vocab_file: Path, declared: Declared
) -> tuple[Backend, dict[str, int], str]:
    """Build the tokenizer of a model and its vocab.json (Fan et al. 2021).

    The languages have the ids after those of vocab.json. What stands around a text is left to the
    language.

    Returns:
        the backend, role -> id of its special tokens, and the SHA-256 of the model

    Raises:
        WorkError: broken files.
    """
    vocab = read_vocab_json(vocab_file)
    count = len(vocab)
    for place, code in enumerate(M2M100):
        vocab.setdefault(f"__{code}__", count + place)
    if len(set(vocab.values())) != len(vocab):
        raise WorkError("its ids leave no room for the languages after them", where=str(vocab_file))
    return _build(read_spm(spm_file), vocab_file, vocab, declared, M2M)


def _build(
    model: SpmModel,
    vocab_file: Path,
    vocab: dict[str, int],
    declared: Declared,
    specials: dict[str, str],
) -> tuple[Backend, dict[str, int], str]:
    unk = role_text(declared, specials, "unk_token")
    if unk not in vocab:
        raise WorkError(f"there is no {unk}, the token for unknown pieces", where=str(vocab_file))
    backend = Backend(models.WordLevel(fill_holes(vocab, declared), unk_token=unk))
    cut = SentencePieces(model, language_code=specials is MARIAN)
    backend.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(cut)
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(Regex(r"\A\s+|\s+\z"), ""),
        ]
    )
    ids = add_tokens(backend, declared, specials)
    backend.post_processor = template(backend, ids, "$A {eos_token}", "$A $B {eos_token}")
    return backend, ids, hashlib.sha256(model.data).hexdigest()
