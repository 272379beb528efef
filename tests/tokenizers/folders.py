"""Folders with a tokenizer in each format, trained on a few hundred lines when first asked for."""

from __future__ import annotations

import base64
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from tokenizers.implementations import BertWordPieceTokenizer

from tests.tokenizers.texts import corpus

Files = dict[str, Any]


def write(folder: Path, files: Files) -> Path:
    """Write files: bytes and text as they are, anything else as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
            (folder / name).write_text(text, encoding="utf-8")
    return folder


@cache
def trained_spm(**options: Any) -> bytes:
    """A SentencePiece model; tuples of options are joined with commas."""
    options = {k: ",".join(v) if isinstance(v, tuple) else v for k, v in options.items()}
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_writer=out,
        minloglevel=2,
        **{"vocab_size": 400, "hard_vocab_limit": False, **options},
    )
    return out.getvalue()


def unigram() -> bytes:
    return trained_spm(model_type="unigram")


def t5_unigram() -> bytes:
    return trained_spm(model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


def llama_bpe() -> bytes:
    return trained_spm(
        model_type="bpe",
        byte_fallback=True,
        vocab_size=600,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
    )


def gemma_bpe() -> bytes:
    return trained_spm(
        model_type="bpe",
        byte_fallback=True,
        vocab_size=600,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        bos_piece="<bos>",
        eos_piece="<eos>",
        user_defined_symbols=("<mask>", "<start_of_turn>", "<end_of_turn>", "\n\n", "▁▁▁▁"),
    )


@cache
def byte_level(*specials: str) -> tuple[dict[str, int], str]:
    """The vocab.json and merges.txt of a byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=450,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
    return model["vocab"], "#version: 0.2\n" + merges


@cache
def wordpieces() -> str:
    """A vocab.txt."""
    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(corpus(), vocab_size=400, show_progress=False)
    vocab = tokenizer.get_vocab()
    return "".join(f"{token}\n" for token in sorted(vocab, key=vocab.__getitem__))


LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def rank_file() -> str:
    """A tiktoken rank file of 450 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=450,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelt = {chr(byte): byte for byte in plain}
    rest = [byte for byte in range(256) if byte not in plain]
    spelt |= {chr(256 + place): byte for place, byte in enumerate(rest)}
    ranks = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    lines = [
        f"{base64.b64encode(bytes(spelt[char] for char in token)).decode()} {rank}\n"
        for token, rank in ranks
    ]
    return "".join(lines)


def pieces_of(model: bytes) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(place) for place in range(processor.get_piece_size())]


def m2m_files() -> Files:
    """A model, and a vocab.json in another order that lacks some pieces."""
    model = unigram()
    order = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pieces_of(model)[3:])]
    kept = [piece for place, piece in enumerate(order) if place < 4 or place % 29]
    vocab = {piece: place for place, piece in enumerate(kept)}
    return {"sentencepiece.bpe.model": model, "vocab.json": vocab}


def marian_files() -> Files:
    """Models of both sides and their common vocab.json."""
    source = trained_spm(model_type="unigram", vocab_size=250)
    target = trained_spm(model_type="unigram", vocab_size=350, character_coverage=1.0)
    pieces = sorted({*pieces_of(source)[3:], *pieces_of(target)[3:]})
    order = ["</s>", "<unk>", ">>fra<<", *pieces, "<pad>"]
    vocab = {piece: place for place, piece in enumerate(order)}
    return {"source.spm": source, "target.spm": target, "vocab.json": vocab}


def files_of(family: str) -> Files:
    """The vocabulary files of a family, as its checkpoints have them."""
    roberta = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    if family in ("gpt2", "gpt_neox", "codegen", "qwen2"):
        vocab, merges = byte_level("<|endoftext|>")
        if family == "qwen2":  # its only special token is not in the vocabulary
            vocab = {token: index - 1 for token, index in vocab.items() if index}
        return {"vocab.json": vocab, "merges.txt": merges}
    if family in ("roberta", "bart", "blenderbot", "opt"):
        vocab, merges = byte_level(*roberta)
        return {"vocab.json": vocab, "merges.txt": merges}
    if family == "cohere":
        vocab, merges = byte_level(
            "<PAD>", "<UNK>", "<CLS>", "<SEP>", "<MASK_TOKEN>", "<BOS_TOKEN>"
        )
        return {"vocab.json": vocab, "merges.txt": merges}
    if family == "deberta":
        vocab, merges = byte_level("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
        return {"vocab.json": vocab, "merges.txt": merges}
    if family in ("bert", "distilbert", "electra", "convbert", "layoutlm"):
        return {"vocab.txt": wordpieces()}
    if family == "m2m_100":
        return m2m_files()
    if family == "marian":
        return marian_files()
    if family == "albert":
        model = trained_spm(
            model_type="unigram",
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            control_symbols=("[CLS]", "[SEP]", "[MASK]"),
        )
        return {"spiece.model": model}
    if family == "deberta-v2":
        model = trained_spm(
            model_type="unigram",
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            pad_piece="[PAD]",
            bos_piece="[CLS]",
            eos_piece="[SEP]",
            unk_piece="[UNK]",
        )
        return {"spm.model": model}
    return {
        "t5": {"spiece.model": t5_unigram()},
        "mt5": {"spiece.model": t5_unigram()},
        "pegasus": {"spiece.model": t5_unigram()},
        "xlm-roberta": {"sentencepiece.bpe.model": unigram()},
        "camembert": {"sentencepiece.bpe.model": unigram()},
        "mbart": {"sentencepiece.bpe.model": unigram()},
        "llama": {"tokenizer.model": llama_bpe()},
        "gemma": {"tokenizer.model": gemma_bpe()},
        "llama-3": {"tokenizer.model": rank_file()},
    }[family]


CLASSES = {
    "codegen": "CodeGenTokenizer",
    "llama": "LlamaTokenizer",
    "gemma": "GemmaTokenizer",
}
"""Families whose class transformers finds in tokenizer_config.json only."""


def make(folder: Path, family: str, **files: Any) -> Path:
    """Write a family's folder; `files` are further ones, `tokenizer_config` without `.json`."""
    side: Files = {"config.json": {"model_type": family.removesuffix("-3")}}
    config = {"tokenizer_class": CLASSES[family]} if family in CLASSES else {}
    for name, content in files.items():
        side[f"{name}.json"] = content
    if config:
        side["tokenizer_config.json"] = {**config, **side.get("tokenizer_config.json", {})}
    return write(folder, {**files_of(family), **side})
