"""Learning a vocabulary from text: byte-level BPE, WordPiece and Unigram.

The same text gives the same tokenizer, bit for bit, on every machine.
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.declared import Declared
from tfcli.tokenizers.spm_classes import load_spm

END_OF_TEXT = "<|endoftext|>"
BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MOST_LETTERS = 1000
"""Letters of a WordPiece vocabulary, as in BERT; rarer ones are unknown."""
_LONGEST_LINE = 1 << 20  # bytes; the sentencepiece library leaves longer ones out


def train_bpe(
    documents: Sequence[str], vocab_size: int, special_tokens: Sequence[str] = ()
) -> Tokenizer:
    """Learn merges of bytes (Sennrich et al. 2016; Radford et al. 2019).

    Every text has an encoding, and decoding gives it back exactly. `<|endoftext|>` has id 0 and
    stands before every document; further special tokens follow it.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, *special_tokens],
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


def train_wordpiece(
    documents: Sequence[str],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    *,
    lowercase: bool = True,
) -> Tokenizer:
    """Learn pieces of words (Devlin et al. 2019): `[CLS] text [SEP]`, what goes on a word has `##`.

    Raises:
        UsageError: the letters of the text alone are more tokens than asked for.
    """
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters, later = _letters(backend, documents)
    specials = list(dict.fromkeys((*BERT_TOKENS, *special_tokens)))
    # The library numbers the letters that go on a word in the order in which it comes across them,
    # which its hashing draws anew in each process, and merges of equal counts follow these numbers.
    # Given as special tokens they have numbers from the start.
    first = [*specials, *(f"##{letter}" for letter in later)]
    least = len(first) + len(letters)
    if least > vocab_size:
        raise UsageError(
            f"the letters of the text alone are {least:,} tokens",
            where="vocab_size",
            fix=f"ask for at least {least:,}",
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=first,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    backend.train_from_iterator(documents, trainer, length=len(documents))
    vocab = backend.get_vocab(with_added_tokens=False)
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in specials])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocab[token]) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _letters(backend: Tokenizer, documents: Iterable[str]) -> tuple[list[str], list[str]]:
    """The most frequent letters of the words, and those of them that go on a word, in order."""
    normalizer, words = backend.normalizer, backend.pre_tokenizer
    assert normalizer is not None and words is not None
    counts: Counter[str] = Counter()
    later: set[str] = set()
    for document in documents:
        for word, _ in words.pre_tokenize_str(normalizer.normalize_str(document)):
            counts.update(word)
            later.update(word[1:])
    ranked = sorted(counts, key=lambda letter: (-counts[letter], letter))
    kept = sorted(ranked[:MOST_LETTERS])
    return kept, [letter for letter in kept if letter in later]


def train_unigram(
    documents: Sequence[str], vocab_size: int, special_tokens: Sequence[str] = ()
) -> tuple[Tokenizer, bytes]:
    """Learn pieces with probabilities (Kudo 2018): `text </s>`, as of T5.

    The sentencepiece library learns them: the trainer of the tokenizers library gives other scores
    each time.

    Returns:
        the tokenizer, and what its own file, a spiece.model, holds

    Raises:
        UsageError: fewer tokens than the text has letters, or than special tokens.
        WorkError: the library refuses the text.
    """
    lines = (line for text in documents for line in text.replace("\0", " ").splitlines())
    out = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=out,
            model_type="unigram",
            vocab_size=vocab_size - len(special_tokens),
            hard_vocab_limit=False,
            max_sentence_length=_LONGEST_LINE,
            num_threads=16,  # sums depend on it, so it does not depend on the machine
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if "Vocabulary size" in str(error) or "required_chars" in str(error):
            raise UsageError(
                f"the letters of the text alone are more than {vocab_size:,} tokens",
                where="vocab_size",
                fix="ask for more",
            ) from error
        raise WorkError(f"the sentencepiece library cannot learn from the text: {error}") from error
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "spiece.model"
        file.write_bytes(out.getvalue())
        declared = Declared(file.parent, {"extra_ids": 0}, "T5Tokenizer", {}, {}, ())
        tokenizer, _ = load_spm(file, declared)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special_tokens])
    return tokenizer, out.getvalue()
