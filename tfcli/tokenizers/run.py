"""The work of `tfcli tokenizer`: a vocabulary learnt from text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tfcli.data.documents import read_documents
from tfcli.files import write_json, write_text
from tfcli.recipe.job import Job
from tfcli.tokenizers.chatml import CHATML, CHATML_ROLES
from tfcli.tokenizers.save import save_vocabulary
from tfcli.tokenizers.spec import TokenizerResult, TokenizerSpec
from tfcli.tokenizers.training import END_OF_TEXT, train_bpe, train_unigram, train_wordpiece
from tfcli.units import plural

BPE = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": END_OF_TEXT,
    "eos_token": END_OF_TEXT,
    "pad_token": END_OF_TEXT,
}
"""One token begins a document, ends it and pads: where one ends the next one begins."""
WORDPIECE = {
    "tokenizer_class": "BertTokenizer",
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
UNIGRAM = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
}


def run(spec: TokenizerSpec, job: Job) -> TokenizerResult:
    """Train a tokenizer and write it as a folder that transformers loads.

    Raises:
        UsageError: a vocabulary too small for the letters of the text.
        WorkError: no text, or text that cannot be read.
    """
    documents = read_documents(spec.data, spec.text_field, console=job.console)
    job.has_read(spec.data)
    job.console.note(f"training on {plural(len(documents), 'document')}")
    tokenizer, config, model = _train(spec, documents)
    if tokenizer.get_vocab_size() < spec.vocab_size:
        job.console.warn(
            f"the text has merges or pieces for {tokenizer.get_vocab_size():,} tokens only, "
            f"not {spec.vocab_size:,}"
        )
    write_tokenizer(tokenizer, job.output, config, CHATML if spec.chatml else None)
    if spec.vocabulary_files and model is None:
        save_vocabulary(tokenizer, job.output)
    elif spec.vocabulary_files and model is not None:
        (job.output / "spiece.model").write_bytes(model)
    encoded = tokenizer.encode_batch_fast(documents, add_special_tokens=False)
    tokens = sum(len(one.ids) for one in encoded)
    size = sum(len(text.encode()) for text in documents)
    added = tokenizer.get_added_tokens_decoder()
    return TokenizerResult(
        algorithm=spec.algorithm,
        vocab_size=tokenizer.get_vocab_size(),
        special_tokens={added[index].content: index for index in sorted(added)},
        chat_template="chatml" if spec.chatml else None,
        documents=len(documents),
        bytes=size,
        tokens=tokens,
        bytes_per_token=size / tokens,
    )


def _train(
    spec: TokenizerSpec, documents: list[str]
) -> tuple[Tokenizer, dict[str, Any], bytes | None]:
    """The tokenizer, its tokenizer_config.json, and the SentencePiece model of a Unigram."""
    size, further = spec.vocab_size, spec.further_tokens
    if spec.algorithm == "wordpiece":
        tokenizer = train_wordpiece(documents, size, further, lowercase=spec.lowercase)
        return tokenizer, {**WORDPIECE, "do_lower_case": spec.lowercase}, None
    if spec.algorithm == "unigram":
        tokenizer, model = train_unigram(documents, size, further)
        return tokenizer, UNIGRAM, model
    roles = CHATML_ROLES if spec.chatml else {}
    return train_bpe(documents, size, further), {**BPE, **roles}, None


def write_tokenizer(
    tokenizer: Tokenizer,
    folder: Path,
    config: dict[str, Any] = BPE,
    chat_template: str | None = None,
) -> None:
    """Write tokenizer.json and the tokenizer_config.json that names its special tokens."""
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=True))
    if chat_template is not None:
        write_text(folder / "chat_template.jinja", chat_template)
    write_json(folder / "tokenizer_config.json", {**config, "clean_up_tokenization_spaces": False})
