"""A GGUF file for `tfcli inspect`: its header, and nothing of its data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfcli.checkpoints.gguf.config_of import model_config, model_dialect
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.own_keys import read_record
from tfcli.checkpoints.gguf.read import only_file
from tfcli.checkpoints.gguf.rules import EXTRA
from tfcli.checkpoints.gguf.split import open_gguf
from tfcli.checkpoints.gguf.types import BY_NAME
from tfcli.errors import ModelError, WorkError
from tfcli.inspect.spec import GGUFFacts, Quantization, TokenizerFacts
from tfcli.inspect.stored import Stored, lines_of

# general.file_type: llama.cpp's enumeration of mixes (`llama_ftype` in llama.h)
FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
}
# llama.cpp's word for a tokenizer -> the algorithm
_TOKENIZERS = {
    "gpt2": "BPE",
    "llama": "SentencePiece",
    "bert": "WordPiece",
    "t5": "Unigram",
    "rwkv": "RWKV",
}
_NONE = (None, "no_vocab", "none")


def open_gguf_file(path: Path) -> Stored:
    """What a GGUF file, or a folder of one, stores.

    A model whose architecture is not covered is described all the same.

    Raises:
        UsageError: several models in one folder.
        WorkError: a broken file, or a part of it is missing.
    """
    file = open_gguf(only_file(path))
    infos = file.tensors.values()
    config, problem = _config(file)
    types = dict(Counter(info.dtype for info in infos).most_common())
    packed = {name: count for name, count in types.items() if not BY_NAME[name].plain}
    lines, elements = lines_of(infos)
    return Stored(
        "gguf",
        path,
        lines,
        elements,
        tuple(dict.fromkeys(info.file for info in infos)) or (file.path,),
        sum(info.elements for info in infos if info.name not in EXTRA),
        config=config,
        problem=problem,
        quantization=Quantization(method="gguf", bits=None, group_size=None, settings=packed)
        if packed
        else None,
        tokenizer=_tokenizer(file),
        chat_template=bool(_text(file.metadata, "tokenizer.chat_template")),
        gguf=_facts(file.metadata, types),
    )


def _config(file: GGUFFile) -> tuple[dict[str, Any] | None, str | None]:
    """The content of config.json that the keys say, or why there is none."""
    where = str(file.path)
    try:
        record = read_record(file.metadata, where)
        dialect = model_dialect(file, record, where)
        return model_config(file, dialect, record, where)[0], None
    except (ModelError, WorkError) as error:
        return None, error.what


def _facts(metadata: Mapping[str, Any], types: dict[str, int]) -> GGUFFacts:
    architecture = _text(metadata, "general.architecture")
    number = metadata.get("general.file_type")
    length = metadata.get(f"{architecture}.context_length")
    return GGUFFacts(
        name=_text(metadata, "general.name"),
        architecture=architecture,
        file_type=FILE_TYPES.get(number) if isinstance(number, int) else None,
        types=types,
        context_length=length if isinstance(length, int) else None,
        tokenizer=_text(metadata, "tokenizer.ggml.model"),
        pre_tokenizer=_text(metadata, "tokenizer.ggml.pre"),
    )


def _tokenizer(file: GGUFFile) -> TokenizerFacts | None:
    kind = _text(file.metadata, "tokenizer.ggml.model")
    if kind in _NONE:
        return None
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    return TokenizerFacts(
        type=_TOKENIZERS.get(str(kind), str(kind)),
        vocab_size=len(tokens) if isinstance(tokens, list) else None,
        file=file.path.name,
    )


def _text(metadata: Mapping[str, Any], key: str) -> str | None:
    """A text of the file, without the bytes in it that are no UTF-8."""
    value = metadata.get(key)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None
