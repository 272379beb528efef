"""vocab.json and merges.txt: byte-level BPE (Radford et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from tfcli.errors import WorkError, hint
from tfcli.tokenizers.bounded import read_lines, read_vocab_json
from tfcli.tokenizers.declared import Declared
from tfcli.tokenizers.special import (
    CLS_SEP,
    LIKE_ROBERTA,
    ROBERTA,
    Defaults,
    add_tokens,
    bos_eos_template,
    fill_holes,
    template,
)

QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_START = "{<|startoftranscript|>} {<|notimestamps|>}"
LIKE_WHISPER = (f"{_START} $A {{eos_token}}", f"{_START} $A $B:1 {{eos_token}}")
"""What stands around a text; `tfcli.processors.audio.whisper_tokenizer` adds language and task."""
GPT2 = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")


@dataclass(frozen=True)
class ByteLevel:
    """In what one class of byte-level tokenizers differs from the others.

    Args:
        specials: role -> token.
        nfc: text is composed first (Unicode NFC).
        words: how text is cut into words, where GPT-2's way is not used.
        digits: each digit is a word.
        prefix_space: a text begins with a space, unless tokenizer_config.json says otherwise.
        around: what stands around one and two texts; None: BOS and EOS where they are asked for.
        trim: offsets leave out the space that begins a token.
    """

    specials: Defaults
    nfc: bool = False
    words: str | None = None
    digits: bool = False
    prefix_space: bool = False
    around: tuple[str, str] | None = None
    trim: bool = False


CLASSES: Mapping[str, ByteLevel] = {
    "GPT2Tokenizer": ByteLevel(GPT2),
    "CodeGenTokenizer": ByteLevel(GPT2),
    "GPTNeoXTokenizer": ByteLevel({**GPT2, "pad_token": "<|padding|>"}, nfc=True),
    "Qwen2Tokenizer": ByteLevel(
        dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
        nfc=True,
        words=QWEN_WORDS,
    ),
    "CohereTokenizer": ByteLevel(
        {
            "bos_token": "<BOS_TOKEN>",
            "eos_token": "<|END_OF_TURN_TOKEN|>",
            "unk_token": "<UNK>",
            "sep_token": "<SEP>",
            "pad_token": "<PAD>",
            "cls_token": "<CLS>",
            "mask_token": "<MASK_TOKEN>",
        },
        nfc=True,
        digits=True,
    ),
    "RobertaTokenizer": ByteLevel(ROBERTA, around=LIKE_ROBERTA, trim=True),
    "BlenderbotTokenizer": ByteLevel(
        {**ROBERTA, "mask_token": AddedToken("<mask>", lstrip=True, special=True)},
        prefix_space=True,
    ),
    "DebertaTokenizer": ByteLevel(CLS_SEP, around=LIKE_ROBERTA),
    "WhisperTokenizer": ByteLevel(GPT2, around=LIKE_WHISPER),
}


def load_bpe_files(
    vocab_file: Path, merges_file: Path, declared: Declared
) -> tuple[Backend, dict[str, int]]:
    """Build the tokenizer of a vocab.json and a merges.txt.

    Returns:
        the backend, and role -> id of its special tokens

    Raises:
        WorkError: a class that is not covered, or files that do not belong together.
    """
    family = declared.family or "GPT2Tokenizer"
    if family not in CLASSES:
        raise WorkError(
            f"tokenizer_class {family} with a vocab.json is not covered",
            where=str(vocab_file),
            fix=f"use a folder with a tokenizer.json; {hint(family, CLASSES)}",
        )
    vocab = read_vocab_json(vocab_file)
    merges = read_merges(merges_file, vocab)
    if declared.family is None and not set(pre_tokenizers.ByteLevel.alphabet()) <= vocab.keys():
        raise WorkError(
            "it is not a byte-level vocabulary, and nothing says which kind it is",
            where=str(vocab_file),
            fix="name its tokenizer_class in tokenizer_config.json",
        )
    kind = CLASSES[family]
    space = declared.flag("add_prefix_space", kind.prefix_space)
    backend = byte_level(models.BPE(fill_holes(vocab, declared), merges), kind, space)
    ids = add_tokens(backend, declared, kind.specials)
    if kind.around is None:
        backend.post_processor = bos_eos_template(backend, declared, ids)
    elif kind.trim:
        backend.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=True, add_prefix_space=space),
                template(backend, ids, *kind.around),
            ]
        )
    else:
        backend.post_processor = template(backend, ids, *kind.around)
    return backend, ids


def byte_level(model: models.BPE, kind: ByteLevel, prefix_space: bool) -> Backend:
    """A backend that cuts text into words and spells these in bytes."""
    backend = Backend(model)
    if kind.nfc:
        backend.normalizer = normalizers.NFC()
    parts: list[pre_tokenizers.PreTokenizer] = []
    if kind.words is not None:
        parts.append(pre_tokenizers.Split(Regex(kind.words), behavior="isolated"))
    if kind.digits:
        parts.append(pre_tokenizers.Digits(individual_digits=True))
    spell = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=kind.words is None)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*parts, spell]) if parts else spell
    backend.decoder = decoders.ByteLevel()
    return backend


def read_merges(file: Path, vocab: Mapping[str, int]) -> list[tuple[str, str]]:
    """The merges of a vocabulary, best first.

    Raises:
        WorkError: a line that is no merge of tokens of the vocabulary; the error names the line.
    """
    merges = []
    for number, line in enumerate(read_lines(file), start=1):
        if line.startswith("#version") or not line:
            continue
        parts = line.split(" ")
        where = f"{file}, line {number}"
        if len(parts) != 2:
            raise WorkError(f"{line[:60]!r} is not a pair of tokens", where=where)
        left, right = parts
        for token in (left, right, left + right):
            if token not in vocab:
                raise WorkError(
                    f"{token[:40]!r} is no token of the vocabulary",
                    where=where,
                    fix="the files belong to different tokenizers; get them again",
                )
        merges.append((left, right))
    return merges
