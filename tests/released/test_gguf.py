"""SmolLM2 135M (llama, Q4_1) and Gemma 3 270M (Q4_K_M) as they were released."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from tests.checkpoints.gguf.llama_cpp import LlamaCpp
from tests.generation.making import continued
from tests.released.conftest import GGUF
from tests.tokenizers.texts import NASTY
from tfcli.checkpoints.folder import load_model
from tfcli.tokenizers.chat import encode_chat
from tfcli.tokenizers.chat_folder import choose_template, find_templates
from tfcli.tokenizers.load import load_tokenizer

TEXT = "The capital of France is Paris, and the largest city of Italy is"
TALK = [
    {"role": "user", "content": "What is a prime number?"},
    {"role": "assistant", "content": "A number with two divisors."},
    {"role": "user", "content": "Name three <of> them & no more."},
]


@pytest.mark.parametrize("name", GGUF)
def test_a_released_gguf_gives_the_logits_that_transformers_reads_from_it(
    name: str, converted: dict[str, Path]
) -> None:
    file = GGUF[name]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    ).eval()
    ours = load_model(converted[name])
    ids = torch.tensor([load_tokenizer(converted[name]).encode(TEXT)])
    with torch.no_grad():
        wanted, found = theirs(ids).logits, ours(input_ids=ids).logits
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("name", GGUF)
def test_a_released_gguf_goes_on_as_llama_cpp_does(name: str, converted: dict[str, Path]) -> None:
    model, tokenizer = load_model(converted[name]), load_tokenizer(converted[name])
    peer = LlamaCpp(GGUF[name], model.config.vocab_size)
    ids = tokenizer.encode(TEXT)
    ours = continued(model, ids, max_new_tokens=12)
    theirs = list(ids)
    for _ in ours:
        theirs.append(int(peer.logprobs(theirs).nan_to_num(-1e9).argmax()))
    assert ours == theirs[len(ids) :]


@pytest.mark.parametrize("name", GGUF)
def test_a_released_tokenizer_gives_llama_cpps_ids(name: str, converted: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(converted[name])
    peer = LlamaCpp(GGUF[name], 8)
    for text in NASTY:
        ours = tokenizer.encode(text, add_special_tokens=False)
        assert ours == peer.tokenize(text), text


@pytest.mark.parametrize("name", ["smollm2"])
def test_a_released_chat_template_gives_transformers_ids(
    name: str, converted: dict[str, Path]
) -> None:
    folder = converted[name]
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    wanted = theirs.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    template = choose_template(find_templates(folder))
    found = encode_chat(
        load_tokenizer(folder), TALK, template=template, add_bos=None, add_generation_prompt=True
    )
    assert found.ids == theirs.encode(wanted, add_special_tokens=False)
