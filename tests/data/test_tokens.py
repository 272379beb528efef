"""One framing everywhere: the declared BOS once, an EOS where nothing else marks the end."""

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors

from tfcli.data.tokens import document_ids, token_stream
from tfcli.tokenizers.load import Tokenizer

VOCABULARY = {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "?": 4}


def tokenizer(template: str = "$A", bos: str | None = None, eos: str | None = None) -> Tokenizer:
    backend = Backend(models.WordLevel(VOCABULARY, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    ids = {name: VOCABULARY[name] for name in (bos, eos) if name}
    return Tokenizer(backend, bos_id=ids.get(bos), eos_id=ids.get(eos))


@pytest.mark.parametrize(
    ("made", "stream"),
    [
        (tokenizer("<s> $A", "<s>", "</s>"), [0, 2, 3, 1, 0, 2, 1]),  # a BOS and an EOS
        (tokenizer("<s> $A", "<s>", "<s>"), [0, 2, 3, 0, 2, 0]),  # one token for both
        (tokenizer("$A", "<s>", "</s>"), [2, 3, 1, 2, 1]),  # a BOS that is not used
        (tokenizer("$A", "</s>", "</s>"), [2, 3, 1, 2, 1]),  # gpt2's way
        (tokenizer("<s> $A </s>", "<s>", "</s>"), [0, 2, 3, 1, 0, 2, 1]),  # adds its own EOS
        (tokenizer("$A"), [2, 3, 2]),  # no special tokens at all
    ],
)
def test_the_end_of_every_document_is_marked_also_of_the_last_one(made, stream):
    assert token_stream(["a b", "a"], made).tolist() == stream


def test_without_eos_each_document_is_as_the_tokenizer_frames_it():
    made = tokenizer("<s> $A", "<s>", "</s>")
    assert token_stream(["a b", "a"], made, add_eos=False).tolist() == [0, 2, 3, 0, 2]
    assert document_ids("a b", made) == [0, 2, 3]
    assert document_ids("a b", made, add_eos=True) == [0, 2, 3, 1]


def test_no_documents_are_no_tokens():
    assert token_stream([], tokenizer()).tolist() == []


def test_many_documents_keep_their_order():
    made = tokenizer("$A")
    texts = ["a" if n % 3 else "b" for n in range(2500)]
    assert token_stream(texts, made).tolist() == [2 if n % 3 else 3 for n in range(2500)]
