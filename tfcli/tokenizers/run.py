"""The work of `tfcli tokenizer`: a byte-level BPE (Sennrich et al. 2016; Radford et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tfcli.data.documents import read_documents
from tfcli.files import write_json
from tfcli.recipe.job import Job
from tfcli.tokenizers.spec import TokenizerResult, TokenizerSpec
from tfcli.units import plural

END_OF_TEXT = "<|endoftext|>"


def run(spec: TokenizerSpec, job: Job) -> TokenizerResult:
    """Train a tokenizer and write it as a folder that transformers loads.

    Raises:
        WorkError: no text, or text that cannot be read.
    """
    documents = read_documents(spec.data, spec.text_field, console=job.console)
    job.has_read(spec.data)
    job.console.note(f"training on {plural(len(documents), 'document')}")
    tokenizer = train_bpe(documents, spec.vocab_size)
    if tokenizer.get_vocab_size() < spec.vocab_size:
        job.console.warn(
            f"the text has merges for {tokenizer.get_vocab_size():,} tokens only, "
            f"not {spec.vocab_size:,}"
        )
    write_tokenizer(tokenizer, job.output)
    encoded = tokenizer.encode_batch_fast(documents, add_special_tokens=False)
    tokens = sum(len(one.ids) for one in encoded)
    size = sum(len(text.encode()) for text in documents)
    return TokenizerResult(
        vocab_size=tokenizer.get_vocab_size(),
        special_tokens={END_OF_TEXT: tokenizer.token_to_id(END_OF_TEXT)},
        documents=len(documents),
        bytes=size,
        tokens=tokens,
        bytes_per_token=size / tokens,
    )


def train_bpe(documents: Sequence[str], vocab_size: int) -> Tokenizer:
    """Learn merges of bytes. Every text has an encoding, and decoding gives it back exactly.

    `<|endoftext|>` has id 0 and stands before every document.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer, length=len(documents))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A",
        pair=f"{END_OF_TEXT} $A {END_OF_TEXT} $B",
        special_tokens=[(END_OF_TEXT, tokenizer.token_to_id(END_OF_TEXT))],
    )
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and the tokenizer_config.json that names its special tokens.

    One token begins a document, ends it and pads: where one document ends the next one begins.
    """
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", config)
