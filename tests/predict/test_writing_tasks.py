"""Tasks that write text beside transformers' pipelines, or its `generate` where it has none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

import tfcli
from tests.conftest import SENTENCES
from tests.models.tiny import tiny_model
from tests.predict.support import close
from tfcli.checkpoints.folder import save_model
from tfcli.errors import UsageError, WorkError
from tfcli.files import write_json
from tfcli.tokenizers.run import UNIGRAM, write_tokenizer
from tfcli.tokenizers.training import train_unigram

PROMPTS = ["A class statement", "The lexical", "An assignment binds a name to an"]
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
CHAT = [{"role": "user", "content": "What binds a name?"}]


@pytest.fixture(scope="module")
def llama(tmp_path_factory, tiny_llama) -> Path:
    """With a chat template, and 128 positions that its tokenizer knows of."""
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(tiny_llama, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    more = {"chat_template": TEMPLATE, "model_max_length": 128}
    write_json(folder / "tokenizer_config.json", {**config, **more})
    return folder


def theirs(task: str, model: Path, **options):
    pipe = transformers.pipeline(task, str(model))
    return lambda given, **more: pipe(given, do_sample=False, **options, **more)


@pytest.mark.parametrize(
    "options",
    [{}, {"return_full_text": False}, {"return_tensors": True}, {"prefix": "Say: "}],
)
def test_texts_go_on(llama, options) -> None:
    ours = tfcli.pipeline("text-generation", llama, batch_size=3, max_new_tokens=8, **options)
    wanted = theirs("text-generation", llama, max_new_tokens=8)
    assert close(ours(PROMPTS), wanted(PROMPTS, **options))


def test_chats_are_answered_or_gone_on_with(llama) -> None:
    ours = tfcli.pipeline("text-generation", llama, max_new_tokens=8)
    wanted = theirs("text-generation", llama, max_new_tokens=8)
    begun = [*CHAT, {"role": "assistant", "content": "An assignment"}]
    assert close(ours(text=CHAT), wanted(CHAT))
    assert close(ours(text=begun), wanted(begun))
    new = tfcli.pipeline("text-generation", llama, max_new_tokens=8, return_full_text=False)
    assert close(new(text=CHAT), wanted(CHAT, return_full_text=False))
    anew = tfcli.pipeline("text-generation", llama, max_new_tokens=8, continue_final_message=False)
    assert close(anew(text=begun), wanted(begun, continue_final_message=False))
    with pytest.raises(WorkError, match="neither a text nor a list of messages"):
        ours(text=[1])


def test_a_hole_leaves_room(llama) -> None:
    long = " ".join(SENTENCES)
    options = {"max_new_tokens": 20, "handle_long_generation": "hole"}
    ours = tfcli.pipeline("text-generation", llama, **options)
    wanted = theirs("text-generation", llama)
    assert close(ours(long), wanted(long, **options))
    with pytest.raises(WorkError, match="leave nothing"):
        tfcli.pipeline("text-generation", llama, max_new_tokens=128, handle_long_generation="hole")(
            long
        )
    with pytest.raises(WorkError, match="max_length 2 leaves no room"):
        tfcli.pipeline("text-generation", llama, max_length=2)(PROMPTS[0])
    ids = tfcli.pipeline("text-generation", llama, max_length=12, return_text=False)(PROMPTS[0])
    assert len(ids[0]["generated_token_ids"]) == 12


def test_several_texts_and_stops(llama) -> None:
    drawn = {"max_new_tokens": 6, "temperature": 1.5, "num_return_sequences": 3}
    ours = tfcli.pipeline("text-generation", llama, batch_size=2, **drawn)
    found = ours(PROMPTS[:2])
    assert [len(each) for each in found] == [3, 3]
    assert len({each["generated_text"] for each in found[0]}) > 1
    assert tfcli.pipeline("text-generation", llama, **drawn)(PROMPTS[0]) == found[0]
    plain = tfcli.pipeline("text-generation", llama, max_new_tokens=20, return_full_text=False)
    text = plain(PROMPTS[0])[0]["generated_text"]
    stop = text[5:8]
    cut = tfcli.pipeline(
        "text-generation", llama, max_new_tokens=20, return_full_text=False, stop=[stop]
    )
    assert cut(PROMPTS[0])[0]["generated_text"] == text[: text.index(stop)]
    with pytest.raises(UsageError, match="no effect"):
        tfcli.pipeline("text-generation", llama, return_tensors=True, return_full_text=True)


@pytest.fixture(scope="module")
def t5(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    write_tokenizer(train_unigram(SENTENCES * 3, 120)[0], folder, UNIGRAM)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    write_json(folder / "tokenizer_config.json", {**config, "model_max_length": 16})
    model = tiny_model("t5", vocab_size=150, decoder_start_token_id=0, eos_token_id=1)
    save_model(model, folder, tokenizer_from=folder)
    config = json.loads((folder / "config.json").read_text())
    tasks = {
        "summarization": {"prefix": "The: ", "max_length": 9, "no_repeat_ngram_size": 2},
        "translation_en_to_de": {"prefix": "A: ", "max_length": 7},
    }
    write_json(folder / "config.json", {**config, "task_specific_params": tasks})
    return folder


def generated(folder: Path, text: str, **options) -> list[int]:
    tokenizer = tfcli.load_tokenizer(folder)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder)
    ids = torch.tensor([tokenizer.encode(text)])
    return model.generate(ids, do_sample=False, num_beams=1, use_cache=False, **options)[0].tolist()


@pytest.mark.parametrize(
    ("task", "key", "prefix", "how"),
    [
        ("text2text-generation", "generated", "", {"max_new_tokens": 8}),
        ("summarization", "summary", "The: ", {"max_length": 9, "no_repeat_ngram_size": 2}),
        ("translation_en_to_de", "translation", "A: ", {"max_length": 7}),
    ],
)
def test_another_text_is_made(t5, task, key, prefix, how) -> None:
    given = how if task.startswith("text2text") else {}  # the others' is in the config
    wanted = [generated(t5, prefix + text, **how) for text in PROMPTS]
    ids = tfcli.pipeline(task, t5, batch_size=3, return_tensors=True, **given)(PROMPTS)
    assert ids == [[{f"{key}_token_ids": each}] for each in wanted]
    texts = tfcli.pipeline(task, t5, batch_size=2, **given)(PROMPTS)
    tokenizer = tfcli.load_tokenizer(t5)
    assert texts == [[{f"{key}_text": tokenizer.decode(each)}] for each in wanted]


def test_what_a_model_is_not_told_is_refused(t5) -> None:
    with pytest.raises(UsageError, match="no prefix for translation_en_to_fr"):
        tfcli.pipeline("translation_en_to_fr", t5)
    assert tfcli.pipeline("translation_en_to_fr", t5, prefix="x: ", max_new_tokens=3)("The")
    with pytest.raises(UsageError, match="does not mark languages"):
        tfcli.pipeline("translation", t5, src_lang="en")
    long = " ".join(SENTENCES * 3)
    cut = tfcli.pipeline("text2text-generation", t5, max_new_tokens=3, truncation=True)
    (sample,) = cut.task.preprocess({"text": long})
    assert len(sample.inputs["input_ids"]) == 16
