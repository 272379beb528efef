"""Every rule of generation_config.json does what it does in transformers' greedy search."""

from __future__ import annotations

import pytest
import torch
import transformers

from tests.generation.making import continued, processes_of
from tests.models.tiny import tiny_model
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.generation.settings import read_settings
from tfcli.generation.tasks import decoding

PROMPT = [0, 12, 77, 130, 5, 12, 77]
NEW = 14


@pytest.fixture(scope="module")
def bart(tmp_path_factory, tiny_tokenizer):
    folder = tmp_path_factory.mktemp("bart") / "m"
    save_model(tiny_model("bart", vocab_size=320), folder, tokenizer_from=tiny_tokenizer)
    return folder


@pytest.fixture(params=["llama", "bart"])
def both(request, tiny_llama, bart):
    """The folder of a model that goes on from a text, or of one that reads it."""
    return tiny_llama if request.param == "llama" else bart


def texts(folder, said, prompt=PROMPT):
    """What we make and what transformers makes of a prompt, under the same generation config."""
    ours = load_model(folder, task=None)
    seq2seq = ours.task == "seq2seq-lm"
    auto = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    theirs = auto.from_pretrained(folder)
    start = {"decoder_start_token_id": 2} if seq2seq else {}
    said = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": None, **start, **said}
    theirs.generation_config = transformers.GenerationConfig(**said)
    wanted = theirs.generate(torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False)[0]
    found = decoding(
        ours,
        [prompt],
        max_new_tokens=[NEW],
        settings=read_settings(said, ours.config),
        cache="static",
    )
    return found.texts()[0], wanted[1 if seq2seq else len(prompt) :].tolist()


@pytest.mark.parametrize(
    "rule",
    [
        {"repetition_penalty": 1.8},
        {"repetition_penalty": 0.5},
        {"encoder_repetition_penalty": 3.0},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 2},
        {"encoder_no_repeat_ngram_size": 1},
        {"encoder_no_repeat_ngram_size": 2},
        {"forced_bos_token_id": 9},
        {"forced_eos_token_id": 3},
        {"forced_eos_token_id": [3, 4]},
        {"remove_invalid_values": True},
    ],
    ids=str,
)
def test_a_rule_is_that_of_transformers(both, rule):
    ours, theirs = texts(both, rule)
    assert ours == theirs


def test_rules_on_tokens_of_the_text_are_those_of_transformers(both):
    """Rules that name what the text would have: its third token, and its first, as the end too."""
    plain, theirs = texts(both, {})
    assert plain == theirs
    first, third = plain[0], plain[2]
    length = 1 if load_model(both, task=None).task == "seq2seq-lm" else len(PROMPT)
    for rule in (
        {"suppress_tokens": [third]},
        {"begin_suppress_tokens": [first]},
        {"begin_suppress_tokens": [first], "forced_bos_token_id": 9},
        {"bad_words_ids": [plain[1:3], [plain[4]]]},
        {"sequence_bias": [[[first], -30.0], [plain[1:3], -30.0]]},
        {"eos_token_id": third},
        {"eos_token_id": [third, first]},
        {"eos_token_id": [third, first], "min_new_tokens": 6},
        {"eos_token_id": third, "min_length": length + 4},
        {"eos_token_id": third, "min_length": length + 9, "min_new_tokens": 1},
        {"eos_token_id": 7, "exponential_decay_length_penalty": [3, 1.6]},
        {"eos_token_id": third, "min_new_tokens": 9, "repetition_penalty": 1.3,
         "no_repeat_ngram_size": 2, "suppress_tokens": [plain[3]], "forced_eos_token_id": 5},
    ):  # fmt: skip
        ours, theirs = texts(both, rule)
        # transformers fills up after an end; we stop with it.
        assert ours == theirs, rule


def test_a_prompt_of_one_token_can_be_followed_by_a_forced_one(tiny_llama):
    ours, theirs = texts(tiny_llama, {"forced_bos_token_id": 9}, prompt=[5])
    assert ours == theirs
    assert ours[0] == 9


def test_without_rules_nothing_is_done_to_the_logits(tiny_llama):
    config = load_model(tiny_llama).config
    rules = read_settings({}, config).rules
    assert processes_of(rules, [PROMPT], stop=[0]) == []


def test_ids_beyond_the_table_do_not_matter(tiny_llama):
    """Ends of multimodal models may lie past a text model's table; they cannot come anyway."""
    model = load_model(tiny_llama)
    said = {"eos_token_id": [400, 3], "min_new_tokens": 5}
    rules = read_settings({**said, "exponential_decay_length_penalty": [1, 1.1]}, model.config)
    process = processes_of(rules.rules, [PROMPT], stop=sorted(rules.stop))
    assert len(continued(model, PROMPT, max_new_tokens=5, process=process)) == 5
