"""Which token ids of a sample are to be learned."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from tokenizers import AddedToken

from tfcli.data.formats.sample import Chat, Pair, Text
from tfcli.data.supervised import Encoder
from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.run import train_bpe, write_tokenizer

TEMPLATES = Path(__file__).parent.parent / "tokenizers" / "templates"
SPECIAL = (
    "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>",
    "<|end_header_id|>",
)  # fmt: skip
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "what is it? 😀"},
    {"role": "assistant", "content": "it is that, naïve"},
    {"role": "user", "content": "and so on?"},
    {"role": "assistant", "content": "not so"},
]


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory) -> Path:
    """A tokenizer whose EOS is also its pad token, without a chat template."""
    folder = tmp_path_factory.mktemp("plain")
    backend = train_bpe(["what is it? it is that, and so on, not so. answer: "] * 3, 300)
    backend.add_special_tokens([AddedToken(token) for token in SPECIAL])
    write_tokenizer(backend, folder)
    path = folder / "tokenizer_config.json"
    ends = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    path.write_text(json.dumps(json.loads(path.read_text()) | ends))
    return folder


@pytest.fixture
def encoder(plain_folder, tmp_path):
    """A function that gives an encoder with a chat template."""

    def make(template: str | None = None, **options) -> Encoder:
        folder = shutil.copytree(plain_folder, tmp_path / f"with {template}", dirs_exist_ok=True)
        if template is not None:
            shutil.copy(TEMPLATES / f"{template}.jinja", folder / "chat_template.jinja")
        return Encoder(load_tokenizer(folder), folder, **options)

    return make


def learned(one: Encoder, sample) -> list[str]:
    """The text of each run of ids that are learned, of all pieces of a sample."""
    runs = []
    for tokens in one.encode(sample, "d.jsonl:7"):
        run: list[int] = []
        for id, of in [*zip(tokens.ids, tokens.learned, strict=True), (0, 0)]:
            if of:
                run.append(id)
            elif run:
                runs.append(one.tokenizer.decode(run, skip_special_tokens=False))
                run = []
    return runs


def test_a_completion_and_the_token_that_ends_it_are_learned(encoder):
    """The EOS is the pad token, too."""
    one = encoder()
    (tokens,) = one.encode(Pair("what is it?", " it is that"), "d:1")
    assert one.tokenizer.decode(tokens.ids, skip_special_tokens=False).endswith(" it is that</s>")
    assert learned(one, Pair("what is it?", " it is that")) == [" it is that</s>"]


def test_prompt_and_completion_are_tokenized_as_one_text(encoder):
    """A token that begins in the prompt and ends in the completion is learned."""
    one = encoder()
    prompt, completion = "it is th", "at"
    apart = one.tokenizer.encode(prompt) + one.tokenizer.encode(completion, False)
    (tokens,) = one.encode(Pair(prompt, completion), "d:1")
    assert tokens.ids[:-1] == one.tokenizer.encode(prompt + completion) != apart
    assert learned(one, Pair(prompt, completion)) == [" that</s>"]


def test_all_of_a_text_is_learned_with_the_special_tokens_that_belong_to_it(encoder):
    (tokens,) = encoder().encode(Text("it is"), "d:1")
    assert set(tokens.learned) == {1} and tokens.ids[-1] == encoder().tokenizer.eos_id


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        ("chatml", ["it is that, naïve<|im_end|>", "not so<|im_end|>"]),
        ("marked", ["it is that, naïve<|im_end|>", "not so<|im_end|>"]),
        ("llama3", ["it is that, naïve<|eot_id|>", "not so<|eot_id|>"]),
    ],
)
def test_of_a_chat_the_assistants_turns_are_learned(encoder, template, answers):
    assert learned(encoder(template), Chat(TALK)) == answers


def test_mistral_writes_answers_behind_inst(encoder):
    assert learned(encoder("mistral"), Chat(TALK[1:])) == [
        " it is that, naïve</s>",
        " not so</s>",
    ]


def test_qwen3_gives_a_sample_for_each_turn(encoder):
    one = encoder("qwen3")
    assert len(one.encode(Chat(TALK), "d:1")) == 2
    assert learned(one, Chat(TALK)) == [
        "<think>\n\n</think>\n\nit is that, naïve<|im_end|>",
        "<think>\n\n</think>\n\nnot so<|im_end|>",
    ]


def test_ids_and_mask_are_those_of_transformers(encoder):
    from transformers import AutoTokenizer

    one = encoder("marked")
    (tokens,) = one.encode(Chat(TALK), "d:1")
    theirs = AutoTokenizer.from_pretrained(Path(one.tokenizer.file)).apply_chat_template(
        TALK, return_dict=True, return_assistant_tokens_mask=True
    )
    assert tokens.ids == theirs["input_ids"]
    assert tokens.learned == theirs["assistant_masks"]


def test_a_template_without_marks_gives_the_mask_that_marks_give(encoder):
    """`chatml` and `marked` differ in their marks alone, but for the BOS."""
    (without,), (marked,) = (
        encoder(name).encode(Chat(TALK), "d:1") for name in ("chatml", "marked")
    )
    assert marked.ids[1:] == without.ids[: len(marked.ids) - 1]
    assert marked.learned[1:] == without.learned[: len(marked.learned) - 1]


def test_all_can_be_learned(encoder):
    for sample in (Chat(TALK), Pair("what", " is")):
        (tokens,) = encoder("qwen3", train_on="all").encode(sample, "d:1")
        assert set(tokens.learned) == {1}


def test_alpaca_is_a_chat_where_there_is_a_template_and_its_own_text_elsewhere(encoder):
    sample = Chat(TALK[1:3], otherwise=Pair("### Response:", "\nit"))
    assert learned(encoder("chatml"), sample) == ["it is that, naïve<|im_end|>"]
    assert learned(encoder(), sample) == ["\nit</s>"]


def test_a_sample_that_ends_without_a_special_token_is_told_apart(encoder, tmp_path):
    one = encoder("chatml")
    assert all(one.ends(each) for each in one.encode(Chat(TALK), "d:1"))
    (tokens,) = one.encode(Pair("a", " so"), "d:1")
    assert one.ends(tokens)
    tokens.learned[-1] = 0
    assert not one.ends(tokens)


def test_a_conversation_without_a_template_is_refused_with_its_line(encoder):
    with pytest.raises(UsageError, match="no chat template") as error:
        encoder().encode(Chat(TALK), "d.jsonl:7")
    assert error.value.where == "d.jsonl:7"


def test_a_conversation_that_the_template_refuses_is_named(encoder):
    with pytest.raises(WorkError, match="roles must alternate") as error:
        encoder("mistral").encode(Chat([TALK[1], TALK[1]]), "d.jsonl:7")
    assert error.value.where.startswith("d.jsonl:7, chat template")


def test_the_date_counts_where_the_template_writes_it(encoder):
    new, old = datetime(2031, 2, 3), datetime(2030, 1, 1)
    assert encoder("llama3", now=new).identity != encoder("llama3", now=old).identity
    assert encoder("chatml", now=new).identity == encoder("chatml", now=old).identity
