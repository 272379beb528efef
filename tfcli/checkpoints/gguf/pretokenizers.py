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
    "ccc2ef013c104be7bae2965776d611e1d7a8a2a9c547dd93a682c9a9fc80352e": "gpt-4o",
    "d353350c764d8c3b39c763113960e4fb4919bea5fbf208a0e3b22e8469dc7406": "llama4",
    "0e9433cbbb161f89e264eb32e8e64bfe69e834973ffca5d41d3948a604a3e2a3": "pixtral",
    "a6b57017d60e6edb4d88ecc2845188e0eb333a70357e45dcc9b53964a73bbae6": "falcon-h1",
    "60476e1243776c4fb1b993dbd7a5f15ac22f83c80afdf425fa5ae01c8d44ef86": "falcon-h1",
    "3eda48b4c4dc7de733d1a8b3e3b4a85243dbbf704da2ee9d42c6beced8897896": "falcon-h1",
    "48f8e02c0359c0bbdd82f26909171fac1c18a457bb47573ed1fe3bbb2c1cfd4b": "falcon-h1",
    "b6dc8df998e1cfbdc4eac8243701a65afe638679230920b50d6f17d81c098166": "olmo",
    "a8594e3edff7c29c003940395316294b2c623e09894deebbc65f33f1515df79e": "dbrx",
    "32d85c31273f8019248f2559fed492d929ea28b17e51d81d3bb36fff23ca72b3": "stablelm2",
    "6221ad2852e85ce96f791f476e0b390cf9b474c9e3d1362f53a24a06dc8220ff": "refact",
    "9c2227e4dd922002fb81bde4fc02b0483ca4f12911410dee2255e4987644e3f8": "command-r",
    "7b3e7548e4308f52a76e8229e4e6cc831195d0d1df43aed21ac6c93da05fec5f": "codeshell",
    "4e2b24cc4770243d65a2c9ec19770a72f08cffc161adbb73fcbb6b7dd45a0aae": "exaone",
    "1431a23e583c97432bc230bff598d103ddb5a1f89960c8f1d1051aaa944d0b35": "minerva-7b",
    "fcace8b9cac38ce847670c970cd5892031a753a1ef381abd1d9af00f713da085": "phi-2",
    "ad851be1dba641f2e3711822f816db2c265f788b37c63b4e1aeacb9ee92de8eb": "gigachat",
    "1994ffd01900cfb37395608534236ecd63f2bd5995d6cb1004dda1af50240f15": "trillion",
    "b53802fb28e26d645c3a310b34bfe07da813026ec7c7716883404d5e0f8b1901": "jais",
    "d4c8f286ea6b520b3d495c4455483cfa2302c0cfcd4be05d781b6a8a0a7cdaf1": "megrez",
    "7e57df22b1fe23a7b1e1c7f3dc4e3f96d43a4eb0836d0c6bdc3436d7b2f1c664": "hunyuan",
    "bba3b3366b646dbdded5dbc42d59598b849371afc42f7beafa914afaa5b70aa6": "hunyuan-dense",
    "1444df51289cfa8063b96f0e62b1125440111bc79a52003ea14b6eac7016fd5f": "qwen35",
    "66b8d4e19ab16c3bfd89bce5d785fb7e0155e8648708a1f42077cb9fe002c273": "grok-2",
    "b6e8e1518dc4305be2fe39c313ed643381c4da5db34a98f6a04c093f8afbe99b": "chatglm-bpe",
    "81d72c7348a9f0ebe86f23298d37debe0a5e71149e29bd283904c02262b27516": "chatglm-bpe",
    "a1336059768a55c99a734006ffb02203cd450fed003e9a71886c88acf24fdbc2": "glm4",
    "9ca2dd618e8afaf09731a7cf6e2105b373ba6a1821559f258b272fe83e6eb902": "glm4",
    "cdf5f35325780597efd76153d4d1c16778f766173908894c04afc20108536267": "glm4",
    "96a5f08be6259352137b512d4157e333e21df7edd3fcd152990608735a65b224": "bailingmoe",
    "d5f1dd6f980fec569fb218a81a7658ac45fc56b38c5a0adeb1c232fbe04ef5ec": "seed-coder",
    "3c30d3ad1d6b64202cd222813e7736c2db6e1bd6d67197090fc1211fbc612ae7": "bloom",
    "bc01ce58980e1db43859146dc51b1758b3b88729b217a74792e9f8d43e479d21": "gpt3-finnish",
    "c7ea5862a53e4272c035c8238367063e2b270d51faa48c0f09e9d5b54746c360": "poro-chat",
    "7fc505bd3104ca1083b150b17d088b59534ede9bde81f0dd2090967d7fe52cee": "viking",
    "0876d13b50744004aa9aeae05e7b0647eac9d801b5ba4668afc01e709c15e19f": "bert-bge",
    "8e62295832751ca1e8f92f2226f403dea30dc5165e448b5bfa05af5340c64ec7": "bert-bge-large",
}

_ENDING = r"|\p{N}{digits}| ?[^\s\p{L}\p{N}]+[\r\n{slash}]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _ending(digits: str, slash: str = "") -> str:
    return _ENDING.replace("{digits}", digits).replace("{slash}", slash)


_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_CONTRACTIONS = f"{_CONTRACTION}|{_WORD}"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_FRONT = r"[^\r\n\p{L}\p{N}]?"
_GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_PUNCTUATED = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CHINESE, _KANA, _HANGUL = "\u4e00-\u9fa5", "\u3040-\u309f\u30a0-\u30ff", "\uac00-\ud7ff"
_SENTENCE = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"


def _cased(contraction: str) -> str:
    """Words that begin with capitals or have none, as in o200k."""
    return f"{_FRONT}{_UPPER}*{_LOWER}+{contraction}|{_FRONT}{_UPPER}+{_LOWER}*{contraction}"


PATTERNS: dict[str, tuple[str, ...]] = {
    "llama-bpe": (_CONTRACTIONS + _ending("{1,3}"),),
    "qwen2": (_CONTRACTIONS + _ending(""),),
    "qwen35": (
        _CONTRACTION
        + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
        + r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "tekken": (_cased("") + _ending("", "/"),),
    "gpt-4o": (_cased(f"{_CONTRACTION}?") + _ending("{1,3}", "/"),),
    "tiny_aya": (
        r"\d{1,3}(?=(?:\d{3})*\b)",
        _cased(f"{_CONTRACTION}?") + _ending("{1,3}", "/"),
    ),
    "seed-coder": (_CONTRACTIONS + r"|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",),
    "bailingmoe": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
    ),
    "minicpm5": (r"\p{N}{1,3}", _CONTRACTIONS + _ending("+")),
    "deepseek-v3": (r"\p{N}{1,3}", f"[{_CHINESE}{_KANA}]+", _PUNCTUATED),
    "deepseek-coder": (
        r"[\r\n]",
        r"\s?\p{L}+",
        r"\s?\p{P}+",
        f"[{_CHINESE}\u0800-\u4e00{_HANGUL}]+",
        r"\p{N}",
    ),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", _GPT_2, "[0-9][0-9][0-9]"),
    "bloom": (_SENTENCE,),
    "viking": (_SENTENCE, r"\p{N}"),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT_2, r"\p{N}+", "[0-9][0-9][0-9]"),
}
"""Name -> the patterns that cut one after the other, before a ByteLevel that cuts no further."""
PLAIN, DIGITS = "gpt-2", "starcoder"
"""A ByteLevel with its own pattern; the same after cutting digits apart."""
# How that pattern is written where a step of its own cuts by it; what nothing fits is cut out too.
_AS_BYTE_LEVEL = {
    contractions + _GPT_2.removeprefix("'s|'t|'re|'ve|'m|'ll|'d") + rest
    for contractions in ("'s|'t|'re|'ve|'m|'ll|'d", "'(?:[sdmt]|ll|ve|re)")
    for rest in ("", r"|\s+")
}
_LIKE: dict[str, tuple[str, ...]] = {
    "llama-bpe": (
        *("llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        *("jina-v5-nano", "smaug-bpe", "dbrx", "chatglm-bpe", "glm4"),
    ),
    "qwen2": (
        *("deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan"),
        *("solar-open", "grok-2"),
    ),
    "gpt-4o": ("llama4", "kanana2", "talkie", "minimax-m2"),
    "tiny_aya": ("cohere2moe",),
    "bailingmoe": ("bailingmoe2", "llada-moe"),
    "deepseek-v3": ("hunyuan-dense", "joyai-llm", "hy_v4"),
    "bloom": ("poro-chat", "gpt3-finnish"),
    DIGITS: (*("refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"),),
    PLAIN: (
        *("phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "gigachat", "exaone4"),
        *("a.x-4.0", "mellum", "modern-bert"),
    ),
}
_SAME = {name: pattern for pattern, names in _LIKE.items() for name in names}
NORMALIZED = ("qwen2", "deepseek-r1-qwen", "qwen35", "megrez", "kormo", "f2llmv2")
"""Names whose tokenizers bring text into Unicode's form NFC first; llama.cpp does not."""
_LLAMA_3 = ("llama-bpe", *_LIKE["llama-bpe"][:8])
_WHOLE = (*_LLAMA_3, "tekken", "minicpm5")
_BEGUN = (*_LLAMA_3, "tekken")


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
    patterns = tuple(map(_pattern, before))
    if patterns and patterns[-1] in _AS_BYTE_LEVEL:
        known: dict[tuple[str | None, ...], str] = {(): PLAIN, (r"\p{N}",): DIGITS}
        return known.get(patterns[:-1])
    return next((name for name, own in PATTERNS.items() if _escaped(own) == patterns), None)


def _pattern(step: dict[str, Any]) -> str | None:
    """What a step cuts out; None where it is another kind of step.

    To keep only what fits is the same as to cut it out, with a pattern that everything fits.
    """
    if step == {"type": "Digits", "individual_digits": True}:
        return r"\p{N}"
    how = (step.get("behavior"), bool(step.get("invert")))
    if step.get("type") != "Split" or how not in (("Isolated", False), ("Removed", True)):
        return None
    pattern = (step.get("pattern") or {}).get("Regex")
    if not isinstance(pattern, str) or (how[1] and not pattern.endswith(r"|\s+")):
        return None
    return _escaped((pattern,))[0]


def _escaped(patterns: Sequence[str]) -> tuple[str, ...]:
    """Patterns with line ends spelt one way."""
    return tuple(each.replace("\r", r"\r").replace("\n", r"\n") for each in patterns)


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
    if name == DIGITS:
        steps = [{"type": "Digits", "individual_digits": True}]
    elif name in PATTERNS:
        steps = [
            {
                "type": "Split",
                "pattern": {"Regex": pattern},
                "behavior": "Isolated",
                "invert": False,
            }
            for pattern in PATTERNS[name]
        ]
    else:
        return None
    return {"type": "Sequence", "pretokenizers": [*steps, byte_level]}


def normalizes(name: str) -> bool:
    """Whether tokenizers of this name bring text into form NFC."""
    return name in NORMALIZED


def ignores_merges(name: str) -> bool:
    """Whether a word that is a token is taken whole, whatever the merges say."""
    return name in _WHOLE


def begins_with_bos(kind: str, name: str) -> bool:
    """Whether llama.cpp puts a BOS before a text where no key says whether."""
    return kind != "gpt2" or name in _BEGUN
