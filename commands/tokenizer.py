"""`tfcli tokenizer`: a vocabulary from text."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts
from tfcli.console import Console
from tfcli.tokenizers.spec import TokenizerResult, TokenizerSpec
from tfcli.units import plural

NAMES = {"bpe": "Byte-level BPE", "wordpiece": "WordPiece", "unigram": "Unigram"}


def show(result: TokenizerResult, console: Console) -> None:
    """The vocabulary and how well it compresses."""
    facts = {
        "vocabulary": f"{result.vocab_size:,} tokens",
        "special": ", ".join(f"{name} = {id}" for name, id in result.special_tokens.items()),
        **({"chat template": result.chat_template} if result.chat_template else {}),
        "trained on": f"{plural(result.documents, 'document')}, {plural(result.bytes, 'byte')}",
        "compression": f"{result.bytes_per_token:.2f} bytes a token",
    }
    print_facts(console, f"{NAMES[result.algorithm]} tokenizer", facts)


app = spec_command(
    TokenizerSpec,
    show,
    epilog="tfcli tokenizer texts/train.jsonl tok --vocab-size 4096\n\n"
    "tfcli tokenizer texts/train.jsonl tok --algorithm wordpiece\n\n"
    "tfcli tokenizer texts/train.jsonl tok --chat-template none",
)
