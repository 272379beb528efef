"""Which models make text, and that each kind makes what transformers makes."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from tests.models.tiny import tiny_model
from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run
from tfcli.errors import UsageError
from tfcli.generation.settings import TextSettings
from tfcli.generation.tasks import decoding, room_after, text_task
from tfcli.models.config import config_from_recipe
from tfcli.models.registry import read_config

PROMPT = "A class statement makes"
SEQ2SEQ = ("t5", "bart", "marian")
RECURRENT = ("mamba", "mamba2", "rwkv")


@pytest.fixture
def folder_of(tmp_path, tiny_tokenizer):
    def folder(model_type, **changes):
        model = tiny_model(model_type, vocab_size=320, **changes)
        save_model(model, tmp_path / model_type, tokenizer_from=tiny_tokenizer)
        return tmp_path / model_type

    return folder


@pytest.fixture
def generate(capsys):
    def call(folder, *flags, code=0):
        capsys.readouterr()
        command = ["generate", str(folder), PROMPT, "--max-new-tokens", "12", "--json"]
        assert run([*command, *flags]) == code
        return json.loads(capsys.readouterr().out)

    return call


def their_ids(folder, result, **options):
    """What transformers makes of the same prompt, greedily, and with the folder's own settings."""
    auto = transformers.AutoModelForSeq2SeqLM
    if result["task"] == "causal-lm":
        auto = transformers.AutoModelForCausalLM
    ids = torch.tensor([result["prompt_ids"]])
    options = {"max_new_tokens": 12, "do_sample": False} | options
    found = auto.from_pretrained(folder).generate(ids, **options)[0].tolist()
    return found[1:] if result["task"] == "seq2seq-lm" else found[ids.shape[1] :]


@pytest.mark.parametrize("model_type", SEQ2SEQ)
def test_an_encoder_decoder_reads_the_prompt_and_writes_an_answer(
    generate, folder_of, model_type, capsys
):
    # Generating, transformers counts the layers of T5's encoder for the decoder's too.
    folder = folder_of(model_type, **{"num_decoder_layers": None} if model_type == "t5" else {})
    result = generate(folder)
    assert result["task"] == "seq2seq-lm"
    assert result["token_ids"] == their_ids(folder, result)
    assert run(["generate", str(folder), PROMPT, "--max-new-tokens", "2"]) == 0
    assert not capsys.readouterr().out.startswith(PROMPT)


@pytest.mark.parametrize("model_type", ["mamba", "mamba2"])
def test_a_recurrent_model_continues_the_prompt(generate, folder_of, model_type):
    folder = folder_of(model_type)
    result = generate(folder)
    assert result["token_ids"] == their_ids(folder, result)


@pytest.mark.parametrize("model_type", RECURRENT)
@torch.no_grad()
def test_a_recurrent_model_reads_and_writes_any_length(model_type):
    model = tiny_model(model_type)
    prompt = torch.randint(4, 61, (50,), generator=torch.Generator().manual_seed(0)).tolist()
    assert room_after("causal-lm", prompt, model.config) > 10**9  # RWKV was trained with 32
    (found,) = decoding(
        model, [prompt], max_new_tokens=[20], settings=TextSettings(), cache="static"
    ).texts()
    ids = list(prompt)
    for token in found:
        assert token == int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        ids.append(token)
    assert len(ids) == 70


def test_the_suffix_belongs_to_what_an_encoder_reads(generate, folder_of):
    """A decoder would take an end for the end of its text."""
    folder = folder_of("bart")
    content = json.loads((folder / "tokenizer.json").read_text())
    end = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    content["post_processor"]["single"].append(end)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert generate(folder)["prompt_ids"][-1] == 0
    llama = folder_of("llama")
    (llama / "tokenizer.json").write_text(json.dumps(content))
    assert generate(llama)["prompt_ids"][-1] != 0


def test_beginning_and_forbidden_tokens_come_from_the_generation_config(generate, folder_of):
    folder = folder_of("bart")
    plain = generate(folder)
    never = plain["token_ids"][1]
    settings = {
        "decoder_start_token_id": 7,
        "forced_bos_token_id": 9,
        "bad_words_ids": [[never]],
        "eos_token_id": 2,
        "pad_token_id": 1,
    }
    (folder / "generation_config.json").write_text(json.dumps(settings))
    result = generate(folder)
    assert result["token_ids"] == their_ids(folder, result) != plain["token_ids"]
    assert result["token_ids"][0] == 9
    assert never not in result["token_ids"]
    settings["suppress_tokens"] = settings.pop("bad_words_ids")[0]
    (folder / "generation_config.json").write_text(json.dumps(settings))
    assert generate(folder)["token_ids"] == result["token_ids"]


def test_a_model_that_looks_bidirectional_makes_no_text():
    config = read_config(
        {"model_type": "gemma3_text", "num_hidden_layers": 2, "use_bidirectional_attention": True}
    )
    with pytest.raises(UsageError, match="see those after them cannot generate") as error:
        text_task(config)
    assert error.value.fix == "what it can do: sequence-classification, embedding"
    assert text_task(config.replace(use_bidirectional_attention=False)) == "causal-lm"


def test_a_checkpoint_of_an_unknown_class_can_still_be_asked_for_text(generate, folder_of):
    folder = folder_of("llama")
    known = generate(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["Llama4All"]}))
    assert generate(folder)["token_ids"] == known["token_ids"]


@pytest.mark.parametrize(
    ("task", "prompt", "what"),
    [
        ("causal-lm", [], "no tokens"),
        ("causal-lm", [5] * 32, "32 tokens, which leaves no room for new ones in .* 32"),
        ("seq2seq-lm", [], "no tokens"),
        ("seq2seq-lm", [5] * 33, "33 tokens, more than the model's 32"),
    ],
)
def test_what_does_not_fit_is_refused(task, prompt, what):
    model_type = {"causal-lm": "gpt2", "seq2seq-lm": "bart"}[task]
    key = {"causal-lm": "n_positions", "seq2seq-lm": "max_position_embeddings"}[task]
    config = config_from_recipe({"model_type": model_type, key: 32})
    with pytest.raises(UsageError, match=what):
        room_after(task, prompt, config)
