"""Which files a tokenizer has, and opening them. The files decide the format, not their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers import normalizers, pre_tokenizers

from tfcli.checkpoints.strict_json import short
from tfcli.errors import WorkError
from tfcli.files import inside
from tfcli.limits import MAX_ID, MAX_TOKEN, MAX_TOKENIZER_JSON
from tfcli.tokenizers.backend import panics_are_errors
from tfcli.tokenizers.bounded import read_json_bytes
from tfcli.tokenizers.bpe_files import CLASSES, load_bpe_files
from tfcli.tokenizers.declared import Declared
from tfcli.tokenizers.files import find_vocabulary
from tfcli.tokenizers.languages import language_template
from tfcli.tokenizers.members import read_members
from tfcli.tokenizers.pieces import load_m2m, load_marian
from tfcli.tokenizers.pipeline import PARTS, check_model, check_pipeline
from tfcli.tokenizers.regex_syntax import ALPHABET
from tfcli.tokenizers.special import add_tokens
from tfcli.tokenizers.spm_classes import load_spm
from tfcli.tokenizers.tiktoken_file import is_tiktoken, load_tiktoken
from tfcli.tokenizers.wordpiece import load_wordpiece


@dataclass(frozen=True)
class Opened:
    """A backend and what it does not say itself.

    Args:
        backend: the `tokenizers` library's object, without truncation and padding.
        ids: role -> id, such as `bos_token`.
        pieces: SHA-256 of the SentencePiece model that the backend asks, where it does; such a
            backend cannot be written as a tokenizer.json.
    """

    backend: Backend
    ids: dict[str, int]
    pieces: str | None = None


def open_files(path: Path, declared: Declared, language: str | None, target: bool) -> Opened:
    """Open the tokenizer of a folder, or the one that a file belongs to.

    Raises:
        WorkError: no tokenizer, a broken one, or one of a kind that is not covered.
    """
    try:
        folder = path.is_dir()
        opened = _open_folder(path, declared, target) if folder else _open_file(path, declared)
    except Exception as error:
        if type(error) is not Exception:  # the library raises no other; the rest is our own
            raise
        raise WorkError(f"the library refuses it: {error}", where=str(path)) from error
    from_json = opened.pieces is None and _is_json(path)
    if not from_json or language is not None or declared.config.get("src_lang") is not None:
        around = language_template(opened.backend, declared, opened.ids, language, target)
        if around is not None:
            opened.backend.post_processor = around
    opened.backend.encode_special_tokens = declared.flag("split_special_tokens", False)
    return opened


def _is_json(path: Path) -> bool:
    return (path / "tokenizer.json").exists() if path.is_dir() else path.suffix == ".json"


def _open_folder(folder: Path, declared: Declared, target: bool) -> Opened:
    vocabulary = find_vocabulary(folder, target=target)
    if vocabulary is None and declared.family == "Wav2Vec2CTCTokenizer":
        raise WorkError(
            "its tokenizer has letters and their blank, and reads predictions, not texts",
            where=str(folder),
            fix="in Python, CtcTokenizer.from_pretrained of tfcli.processors.audio.ctc_tokenizer",
        )
    if vocabulary is None:
        raise WorkError(
            "there is no tokenizer.json, nor other files of a tokenizer",
            where=str(folder),
            fix="name a folder with a tokenizer.json, such as tfcli tokenizer makes, or with a "
            "vocab.txt, a vocab.json and merges.txt, a SentencePiece .model or a tiktoken rank "
            "file",
        )
    first, last = vocabulary.files[0], vocabulary.files[-1]
    if vocabulary.kind == "marian":
        return Opened(*load_marian(first, last, declared))
    if vocabulary.kind == "pairs":
        return Opened(*load_bpe_files(first, last, declared))
    return _open_file(first, declared)


def _open_file(file: Path, declared: Declared) -> Opened:
    if file.suffix == ".json" or not file.exists():
        return _open_json(file, declared)
    if is_tiktoken(file):
        return Opened(*load_tiktoken(file, declared))
    if file.suffix == ".txt":
        return Opened(*load_wordpiece(file, declared))
    if declared.family == "M2M100Tokenizer":
        return Opened(*load_m2m(file, inside(file.parent, "vocab.json"), declared))
    return Opened(*load_spm(file, declared))


def _open_json(file: Path, declared: Declared) -> Opened:
    data = read_json_bytes(file, MAX_TOKENIZER_JSON)
    check_pipeline(read_members(data, PARTS, str(file)), str(file))
    with panics_are_errors(str(file)):
        backend = Backend.from_buffer(data)
        _check_ids(backend, file)
        check_model(backend.model, str(file))
        backend.no_truncation()
        backend.no_padding()
        backend.decode(backend.encode(ALPHABET).ids)  # it fails here rather than in the work
    _apply_options(backend, declared)
    return Opened(backend, add_tokens(backend, declared, {}, append=False))


def _check_ids(backend: Backend, file: Path) -> None:
    """Refuse ids of two tokens, and absurd ones: the library counts up to the largest."""
    owner: dict[int, str] = {}
    for token, index in backend.get_vocab(with_added_tokens=True).items():
        if index >= MAX_ID:
            raise WorkError(
                f"the id {index} of the token {token[:40]!r} is not in 0..{MAX_ID - 1:,}",
                where=str(file),
            )
        if len(token) > MAX_TOKEN:
            raise WorkError(
                f"the token {short(token)} has {len(token):,} letters; at most "
                f"{MAX_TOKEN:,} are read",
                where=str(file),
            )
        if index in owner:
            raise WorkError(
                f"the tokens {owner[index][:40]!r} and {token[:40]!r} have the same id, {index}",
                where=str(file),
            )
        owner[index] = token


def _apply_options(backend: Backend, declared: Declared) -> None:
    """What tokenizer_config.json says counts, also where tokenizer.json was written before it."""
    normalizer, words = backend.normalizer, backend.pre_tokenizer
    if declared.family == "Siglip2Tokenizer":  # Gemma's file, with which capitals stay
        steps = [normalizers.Lowercase(), *([normalizer] if normalizer is not None else [])]
        backend.normalizer = normalizers.Sequence(steps)
    options = (
        ("do_lower_case", "lowercase"),
        ("strip_accents", "strip_accents"),
        ("tokenize_chinese_chars", "handle_chinese_chars"),
    )
    if isinstance(normalizer, normalizers.BertNormalizer):
        for key, name in options:
            value = declared.choice(key)
            if value is not None or (key == "strip_accents" and key in declared.config):
                setattr(normalizer, name, value)
    if isinstance(words, pre_tokenizers.ByteLevel) and declared.family in CLASSES:
        space = declared.choice("add_prefix_space")
        if space is not None:
            words.add_prefix_space = space
