"""SentencePiece models (Kudo and Richardson 2018) as backends of the tokenizers library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from tfcli.errors import WorkError
from tfcli.limits import MAX_TOKENS
from tfcli.tokenizers.bounded import check_splits
from tfcli.tokenizers.special import Defaults
from tfcli.tokenizers.spm_model import (
    BPE,
    CONTROL,
    KINDS,
    NORMAL,
    UNIGRAM,
    USER_DEFINED,
    SpmModel,
)

SPACE = "▁"
"""Stands for a space in pieces."""


@dataclass(frozen=True)
class Parts:
    """A backend without its special tokens, and what to add to it.

    Args:
        backend: normalizes, cuts and decodes; has no added tokens yet.
        specials: role -> token.
        extra: further tokens that are found whole in a text.
        around: what stands around one and two texts; None: BOS and EOS where they are asked for,
            or the language's tokens.
    """

    backend: Backend
    specials: Defaults
    extra: Sequence[AddedToken] = ()
    around: tuple[str, str] | None = None


def as_written(model: SpmModel) -> Parts:
    """The ids that the sentencepiece library gives: for models without a class of their own."""
    if model.kind == UNIGRAM:
        backend = Backend(unigram(model, model.pieces, model.unk, model.byte_fallback))
    else:
        backend = Backend(bpe(model, unk=model.unk, byte_fallback=model.byte_fallback))
    steps: list[normalizers.Normalizer] = []
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.remove_extra_whitespaces:  # spaces only; a line break is no space here
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(r"\A "), "")]
    steps.append(normalizers.Replace(" ", SPACE))
    if model.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(rf"{SPACE}+\z"), ""))
    if model.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    backend.normalizer = normalizers.Sequence(steps)
    every = MAX_TOKENS if model.remove_extra_whitespaces else int(model.add_dummy_prefix)
    backend.decoder = spell_decoder(spaces=every)
    return Parts(backend, model.names, own_tokens(model))


def unigram(
    model: SpmModel, pieces: Sequence[tuple[str, float]], unk: str, byte_fallback: bool = False
) -> models.Unigram:
    """A Unigram model whose ids are the places in `pieces`."""
    require_kind(model, UNIGRAM)
    places = {piece: place for place, (piece, _) in enumerate(pieces)}
    if unk not in places:
        raise WorkError(f"there is no piece {unk!r} for unknown text", where=str(model.file))
    return models.Unigram(list(pieces), places[unk], byte_fallback)


def bpe(model: SpmModel, unk: str | None, byte_fallback: bool) -> models.BPE:
    """A BPE model. Two pieces are joined whose join is a piece, those with the best score first."""
    require_kind(model, BPE)
    vocab = {piece: index for index, (piece, _) in enumerate(model.pieces)}
    check_splits(map(len, vocab), model.file)
    # No text becomes a control piece or a byte by joining.
    joined = set(model.of_type(NORMAL, USER_DEFINED))
    merges = [
        (piece[:cut], piece[cut:])
        for piece, _ in sorted(model.pieces, key=lambda scored: -scored[1])
        for cut in range(1, len(piece))
        if piece in joined and piece[:cut] in joined and piece[cut:] in joined
    ]
    return models.BPE(vocab, merges, unk_token=unk, fuse_unk=True, byte_fallback=byte_fallback)


def require_kind(model: SpmModel, kind: int) -> None:
    """Refuse a model of another kind than its class has."""
    if model.kind != kind:
        raise WorkError(
            f"it is a {KINDS[model.kind]} model, but its class has {KINDS[kind]} models",
            where=str(model.file),
            fix="correct tokenizer_class in tokenizer_config.json",
        )


def own_tokens(model: SpmModel) -> list[AddedToken]:
    """The control and user-defined pieces, in the order of ids."""
    found = zip(model.pieces, model.types, strict=True)
    return [
        AddedToken(piece, normalized=False, special=kind == CONTROL)
        for (piece, _), kind in found
        if kind in (CONTROL, USER_DEFINED)
    ]


def special_tokens(texts: Sequence[str]) -> list[AddedToken]:
    """Special tokens of some texts."""
    return [AddedToken(text, special=True) for text in texts]


def spell_decoder(spaces: int) -> decoders.Decoder:
    """Joins pieces and bytes, and drops up to so many spaces that begin a text."""
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence([*steps, decoders.Strip(" ", spaces, 0)] if spaces else steps)


def set_words(backend: Backend, scheme: str, split_first: bool) -> None:
    """Cut text at spaces, each of which begins the word after it.

    Args:
        scheme: `always`, `first` or `never`: which words get a space that have none.
        split_first: white space of every kind is dropped beforehand.
    """
    words = pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme)
    if split_first:
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), words])
    else:
        backend.pre_tokenizer = words
    backend.decoder = decoders.Metaspace(SPACE, prepend_scheme=scheme)
