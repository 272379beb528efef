"""The tokenizer.model of Meta's folders, which says nothing of special tokens, made complete.

Llama 1 and 2 and Mistral have a SentencePiece model, Llama 3 a tiktoken rank file whose 256 special
tokens stand in Meta's code.

Source: https://github.com/meta-llama/llama-models, `llama3/tokenizer.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfcli.files import inside, write_json

MODEL, JSON, CONFIG = "tokenizer.model", "tokenizer.json", "tokenizer_config.json"
_SPECIAL = 256
_BEGIN, _END, _TURN = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
_HEADERS = {6: "<|start_header_id|>", 7: "<|end_header_id|>"}
# By their place after the ranks; every other place is reserved. The second holds from 3.1 on.
_LLAMA3 = {0: _BEGIN, 1: _END, **_HEADERS, 9: _TURN}
_LLAMA31 = {**_LLAMA3, 4: "<|finetune_right_pad_id|>", 8: "<|eom_id|>", 10: "<|python_tag|>"}


def write_tokenizer(folder: Path, *, scaled: bool) -> list[str]:
    """Make the tokenizer.json and tokenizer_config.json for the tokenizer.model of a folder.

    Args:
        folder: the target, with the companions in it.
        scaled: positions are scaled, as from Llama 3.1 on.

    Returns:
        The names of the files; none where the folder has no tokenizer.model or a tokenizer.json.

    Raises:
        WorkError: a tokenizer.model that cannot be read.
    """
    from tfcli.tokenizers.load import load_tokenizer
    from tfcli.tokenizers.save import save_tokenizer_json
    from tfcli.tokenizers.tiktoken_file import is_tiktoken

    if (folder / JSON).exists() or not (folder / MODEL).exists():
        return []
    declared = (folder / CONFIG).exists()
    if not declared:
        model = inside(folder, MODEL)
        write_json(
            folder / CONFIG,
            _special_tokens(model, scaled) if is_tiktoken(model) else _SENTENCEPIECE,
        )
    save_tokenizer_json(load_tokenizer(folder), folder)
    return [JSON] if declared else [JSON, CONFIG]


_SENTENCEPIECE = {
    "tokenizer_class": "LlamaTokenizer",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "add_bos_token": True,
    "add_eos_token": False,
}


def _special_tokens(model: Path, scaled: bool) -> dict[str, Any]:
    from tfcli.tokenizers.tiktoken_file import read_ranks

    first = 1 + max(read_ranks(model).values())
    names = dict(_LLAMA31 if scaled else _LLAMA3)
    reserved = (f"<|reserved_special_token_{number}|>" for number in range(_SPECIAL))
    tokens = {first + place: names.get(place) or next(reserved) for place in range(_SPECIAL)}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": _BEGIN,
        "eos_token": _END,
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {
            str(index): {"content": text, "special": True} for index, text in tokens.items()
        },
    }
