"""How byte-level BPE tokenizers cut text into words, by llama.cpp's names.

llama.cpp knows a tokenizer by a name in `tokenizer.ggml.pre`. Its conversion script finds the name
by the hash of the ids of one test text; that is done first here, with the hashes of the
covered families' releases. A tokenizer of another vocabulary is known by its own rules: the
pattern that it cuts by.

Source: `get_vocab_base_pre` of llama.cpp's conversion scripts and `llm_tokenizer_bpe` of
src/llama-vocab.cpp.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

TEST_TEXT = (
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n"
    "🚀 (normal) 😶\u200d🌫\ufe0f (multiple emojis concatenated) ✅ 🦙🦙 "
    "3 33 333 3333 33333 333333 3333333 33333333 3.3 3..3 3...3 កាន់តែពិសេសអាច😁 "
    "?我想在apple工作1314151天\uff5e ------======= нещо на Български "
    "''''''```````\"\"\"\"......!!!!!!?????? "
    "I've been 'told he's there, 'RE you sure? 'M not sure I'll make it, "
    "'D you like some tea? We'Ve a'lL"
)

HASHES = {
    "0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5": "llama-bpe",
    "c136ed14d01c2745d4f60a9596ae66800e2b61fa45643e72436041855ad4089d": "smaug-bpe",
    "3ce83efda5659b07b1ad37ca97ca5797ea4285d9b9ab0dc679e4a720c9da7454": "gpt-2",
    "0fe1cf6eda062318a1af7270f3331a85c539a01778ff948e24388e949c5282f4": "gpt-2",
    "e636dc30a262dcc0d8c323492e32ae2b70728f4df7dfe9737d9f920a282b8aea": "qwen2",
    "d4540891389ea895b53b399da6ac824becc30f2fba0e9ddbb98f92e55ca0e97c": "qwen2",
    "b3f499bb4255f8ca19fccd664443283318f2fd2414d5e0b040fbdd0cc195d6c5": "deepseek-r1-qwen",
    "35d91631860c815f952d711435f48d356ebac988362536bed955d43bfa436e34": "starcoder",
    "63b97e4253352e6f357cc59ea5b583e3a680eaeaf2632188c2b952de2588485e": "tekken",
    "855059429035d75a914d1eda9f10a876752e281a054a7a3d421ef0533e5b6249": "smollm",
    "347715f544604f9118bb75ed199f68779f423cabb20db6de6f31b908d04d7821": "deepseek-coder",
    "049ecf7629871e3041641907f3de7c733e4dbfdc736f57d882ba0b0845599754": "deepseek-llm",
    "877081d19cf6996e2c4ff0e1236341e9b7bde288f5311a56a937f0afbbb3aeb5": "deepseek-v3",
    "9d032fcbd5501f4a38150912590928bfb36091efb5df11b8e2124b0390e3fb1e": "falcon3",
    "0876d13b50744004aa9aeae05e7b0647eac9d801b5ba4668afc01e709c15e19f": "bert-bge",
    "8e62295832751ca1e8f92f2226f403dea30dc5165e448b5bfa05af5340c64ec7": "bert-bge-large",
}

_ENDING = r"|\p{N}{digits}| ?[^\s\p{L}\p{N}]+[\r\n{slash}]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _ending(digits: str, slash: str = "") -> str:
    return _ENDING.replace("{digits}", digits).replace("{slash}", slash)


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_FRONT = r"[^\r\n\p{L}\p{N}]?"
PATTERNS = {
    "llama-bpe": _CONTRACTIONS + _ending("{1,3}"),
    "qwen2": _CONTRACTIONS + _ending(""),
    "tekken": f"{_FRONT}{_UPPER}*{_LOWER}+|{_FRONT}{_UPPER}+{_LOWER}*" + _ending("", "/"),
}
"""Name -> the pattern of the Split before a ByteLevel that cuts no further."""
PLAIN, DIGITS = "gpt-2", "starcoder"
"""A ByteLevel with its own pattern; the same after cutting digits apart."""
NORMALIZED = ("qwen2",)
"""Names whose tokenizers bring text into Unicode's form NFC first."""
_SAME = {
    "smaug-bpe": "llama-bpe",
    "falcon3": "llama-bpe",
    "deepseek-r1-qwen": "qwen2",
    "smollm": DIGITS,
    "command-r": DIGITS,
    "refact": DIGITS,
    "mpt": PLAIN,
    "olmo": PLAIN,
    "default": PLAIN,
    "jais": PLAIN,
}


def name_of(encode: Callable[[str], Sequence[int]], spec: dict[str, Any]) -> str | None:
    """llama.cpp's name for a tokenizer, or None where it has none.

    Args:
        encode: text to ids, with the special tokens around it.
        spec: the tokenizer.json.
    """
    ids = str(list(encode(TEST_TEXT)))
    return HASHES.get(hashlib.sha256(ids.encode()).hexdigest()) or _by_rules(spec)


def _by_rules(spec: dict[str, Any]) -> str | None:
    steps = spec.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps]) if isinstance(steps, dict) else []
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    *before, last = steps
    if last.get("use_regex", True):
        if not before:
            return PLAIN
        digits = {"type": "Digits", "individual_digits": True}
        return DIGITS if before == [digits] else None
    if len(before) != 1 or before[0].get("type") != "Split" or before[0].get("invert"):
        return None
    pattern = (before[0].get("pattern") or {}).get("Regex")
    return next((name for name, own in PATTERNS.items() if own == pattern), None)


def pre_tokenizer(name: str) -> dict[str, Any] | None:
    """The part of a tokenizer.json that cuts text as llama.cpp does under a name; None: unknown."""
    name = _SAME.get(name, name)
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": name in (PLAIN, DIGITS),
    }
    if name == PLAIN:
        return byte_level
    first: dict[str, Any]
    if name == DIGITS:
        first = {"type": "Digits", "individual_digits": True}
    elif name in PATTERNS:
        first = {
            "type": "Split",
            "pattern": {"Regex": PATTERNS[name]},
            "behavior": "Isolated",
            "invert": False,
        }
    else:
        return None
    return {"type": "Sequence", "pretokenizers": [first, byte_level]}


def normalizes(name: str) -> bool:
    """Whether tokenizers of this name bring text into form NFC."""
    return _SAME.get(name, name) in NORMALIZED


def ignores_merges(name: str) -> bool:
    """Whether a word that is a token is taken whole, whatever the merges say."""
    return _SAME.get(name, name) in ("llama-bpe", "tekken")
