"""GGUF: counts, lengths and offsets that lie, and keys that no model has."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.test_header import BROKEN, LARGE
from tests.hostile.case import CONVERT, Corpus
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.recipe.execute import execute

FILE = "model.gguf"
CHOSEN = (
    "key count",
    "key length",
    "key twice",
    "value type",
    "text past the end",
    "array count",
    "texts past the end",
    "deep arrays",
    "alignment 0",
    "alignment huge",
    "tensor twice",
    "negative dimension",
    "dimensions overflow",
    "tensor type",
    "offset huge",
    "size past the end",
    "overlap",
)
TOKENS = "tokenizer.ggml.tokens"


def make(corpus: Corpus) -> None:
    """Add the cases."""
    source, whole = corpus.good["llama"], corpus.good["llama"].with_name("gguf")
    execute(ConvertSpec(source=str(source), output=str(whole), to="gguf"), Console.silent())
    (whole / "gguf.gguf").rename(whole / FILE)
    corpus.good["gguf"] = whole / FILE
    for name in CHOSEN:
        content, says = BROKEN[name]
        corpus.add(f"gguf {name}", FILE, says, {FILE: content}, path=FILE)
    for name in ("numbers", "several"):
        says = "the count" if name == "numbers" else "the length"
        corpus.add(f"gguf large {name}", FILE, says, {FILE: LARGE[name]()}, path=FILE)
    _cut(corpus, (whole / FILE).read_bytes())
    _keys(corpus, whole / FILE)


def _cut(corpus: Corpus, whole: bytes) -> None:
    marks = {
        "in the counts": 20,
        "in a key": 60,
        "in the tokens": whole.index(TOKENS.encode()) + 100,
        "in a tensor": whole.index(b"token_embd.weight") + 20,
        "in the data": len(whole) - 100,
        "by a row": len(whole) - 1,
    }
    for where, at in marks.items():
        says = {"in the counts": "truncated", "in a tensor": "tensor "}.get(where, "count")
        says = "outside" if "data" in where or "row" in where else says
        corpus.add(f"gguf cut {where}", FILE, says, {FILE: whole[:at]}, path=FILE)


def _keys(corpus: Corpus, whole: Path) -> None:
    """A right file but for one key; what a key means is found out by `convert`."""
    u32, f32 = "uint32", "float32"
    huge, deep = 2**32 - 1, "[" * 100_000
    # name -> the key, its value, and what the error calls it where that is not the key's name
    changes: dict[str, tuple[str, Value, str]] = {
        "layers": ("llama.block_count", Value(u32, huge), "num_hidden_layers"),
        "no heads": ("llama.attention.head_count", Value(u32, 0), "num_attention_heads"),
        "heads as a text": ("llama.attention.head_count", Value("string", "4"), "head_count"),
        "width": ("llama.embedding_length", Value(u32, huge), "hidden_size"),
        "an endless base": ("llama.rope.freq_base", Value(f32, float("inf")), "freq_base"),
        "no epsilon": (
            "llama.attention.layer_norm_rms_epsilon",
            Value(f32, float("nan")),
            "layer_norm_rms_epsilon",
        ),
        "architecture": (
            "general.architecture",
            Value("string", "../../etc/passwd"),
            "architecture",
        ),
        "vocabulary kind": ("tokenizer.ggml.model", Value("string", "os.system"), "model"),
        "token types": (
            "tokenizer.ggml.token_type",
            Value("array[int32]", array("i", [1, 2])),
            "token_type",
        ),
        "a token type": (
            "tokenizer.ggml.token_type",
            Value("array[int32]", array("i", [9] * 320)),
            "token_type",
        ),
        "tokens as numbers": (TOKENS, Value("array[int32]", array("i", [1] * 320)), "tokens"),
        "merges": ("tokenizer.ggml.merges", Value("array[string]", ["zzz qqq"]), "tokenizer"),
        "a base as a text": ("llama.rope.freq_base", Value("string", "x"), "freq_base"),
        "parts": ("split.count", Value("uint16", 60000), "split.count"),
        "missing parts": ("split.count", Value("uint16", 3), "split.no"),
    }
    for name, (key, value, says) in changes.items():
        folder = corpus.add(f"gguf key {name}", FILE, says, by=(CONVERT,), path=FILE)
        rewrite(whole, folder / FILE, drop=r"tfcli\.|tokenizer\.huggingface", change={key: value})
    recorded: dict[str, tuple[str, Any]] = {
        "deep": ("tfcli.config", '{"a":' + deep),
        "twice": ("tfcli.config", '{"model_type": "llama", "model_type": "bert"}'),
        "list": ("tfcli.config", "[]"),
        "types": ("tfcli.other_dtypes", '{"model.norm.weight": "X"}'),
    }
    for name, (key, text) in recorded.items():
        folder = corpus.add(
            f"gguf record {name}",
            FILE,
            key.partition("_")[0].replace("other", ""),
            by=(CONVERT,),
            path=FILE,
        )
        rewrite(whole, folder / FILE, change={key: Value("string", text)})
    kept = {  # what is no tokenizer of the file's tokens is passed over, if it can be read
        "deep": '{"model":' + deep,
        "many lists": '{"model":[' + "[]," * 5_000_000 + "1]}",
        "list": "[]",
        "without a vocabulary": '{"model": []}',
        "with a number": '{"model": {"vocab": {}}, "added_tokens": 3}',
    }
    for name, text in kept.items():
        key = "tokenizer.huggingface.json"
        folder = corpus.add(
            f"gguf kept tokenizer {name}",
            FILE,
            key,
            by=() if "with" in name else (CONVERT,),
            path=FILE,
        )
        rewrite(whole, folder / FILE, change={key: Value("string", text)})
