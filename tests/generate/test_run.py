"""`tfcli generate` from the command line."""

import json
import shutil

import pytest

from tfcli.commands.app import run
from tfcli.tokenizers.load import load_tokenizer

PROMPT = "A class statement"


@pytest.fixture
def generate(capsys, tiny_llama):
    def call(*flags, model=tiny_llama, prompt=PROMPT, code=0):
        capsys.readouterr()
        assert run(["generate", str(model), prompt, "--json", *map(str, flags)]) == code
        return json.loads(capsys.readouterr().out)

    return call


def test_greedy_text_is_that_of_transformers(generate, tiny_llama):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    given = tokenizer(PROMPT, return_tensors="pt")
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    ids = model.generate(**given, max_new_tokens=20, do_sample=False)[0].tolist()
    result = generate("--max-new-tokens", 20, "--temperature", 0)
    assert result["prompt_ids"] == given["input_ids"][0].tolist()
    assert result["token_ids"] == ids[len(result["prompt_ids"]) :]
    assert result["text"] == tokenizer.decode(result["token_ids"], skip_special_tokens=True)
    assert (result["schema"], result["prompt"]) == ("tfcli.generate/1", PROMPT)


def test_draws_depend_on_seed_and_filters(generate):
    def draw(*flags):
        return generate("--max-new-tokens", 12, *flags)["token_ids"]

    warm = ("--temperature", 1.5)
    assert draw(*warm) == draw(*warm, "--seed", 0) != draw(*warm, "--seed", 1)
    assert draw(*warm, "--top-k", 1) == draw(*warm, "--top-p", 1e-9) == draw()
    assert draw(*warm) != draw("--temperature", 0.2)


def test_the_model_can_end_the_text(generate, tiny_llama, tmp_path):
    whole = generate("--max-new-tokens", 12)
    assert (whole["finish_reason"], len(whole["token_ids"])) == ("length", 12)
    model = tmp_path / "model"
    shutil.copytree(tiny_llama, model)
    stop = whole["token_ids"][5]
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [319, stop]}))
    ended = generate("--max-new-tokens", 12, model=model)
    assert ended["finish_reason"] == "stop"
    assert ended["token_ids"] == whole["token_ids"][: whole["token_ids"].index(stop) + 1]


def test_the_text_is_on_stdout_and_figures_are_on_stderr(capsys, tiny_llama):
    assert run(["generate", str(tiny_llama), PROMPT, "--max-new-tokens", "8"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(PROMPT)
    assert "8 tokens" in shown.err


def test_what_would_control_the_terminal_is_not_printed():
    from tfcli.generate.preview import printable

    assert printable("a\x1b[2Jb\tc\n\x07é") == "a\ufffd[2Jb\tc\n\ufffdé"


@pytest.mark.parametrize(
    ("flags", "prompt", "what"),
    [
        (("--max-new-tokens", 500), PROMPT, "more than the model's 128 positions"),
        ((), "word " * 200, "more than the model's 128 positions"),
        (("--top-k", 5), PROMPT, "top_k has no effect with temperature: 0"),
        (("--top-p", 0.5), PROMPT, "top_p has no effect with temperature: 0"),
        (("--temperature", -1), PROMPT, "greater than or equal to 0"),
        (("--temperature", 1, "--top-p", 1.5), PROMPT, "less than or equal to 1"),
        (("--max-new-tokens", 0), PROMPT, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(generate, flags, prompt, what):
    assert what in generate(*flags, prompt=prompt, code=2)["error"]["what"]


def test_the_room_that_is_left_is_named(generate, tiny_llama):
    used = len(load_tokenizer(tiny_llama).encode(PROMPT))
    assert generate("--max-new-tokens", 500, code=2)["error"]["fix"].endswith(f" {128 - used}")
    generate("--max-new-tokens", 128 - used)


def test_an_empty_prompt_needs_a_bos(generate, tiny_llama, tmp_path):
    assert generate("--max-new-tokens", 2, prompt="")["prompt_ids"] == [0]
    bare = tmp_path / "bare"
    shutil.copytree(tiny_llama, bare)
    content = json.loads((bare / "tokenizer.json").read_text())
    (bare / "tokenizer.json").write_text(json.dumps({**content, "post_processor": None}))
    assert "no tokens" in generate(model=bare, prompt="", code=2)["error"]["what"]


def test_a_model_of_another_task_is_refused(generate, tmp_path, tiny_tokenizer):
    shutil.copytree(tiny_tokenizer, tmp_path / "bert")
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert", "vocab_size": 320}')
    (tmp_path / "bert" / "model.safetensors").write_bytes(b"\x02" + b"\x00" * 7 + b"{}")
    error = generate("--max-new-tokens", 2, model=tmp_path / "bert", code=2)["error"]
    assert error["what"] == "bert cannot generate text"  # its weights, which are none, are not read
    assert "masked-lm" in error["fix"]


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture
def chat_model(tiny_llama, tmp_path):
    model = tmp_path / "chat"
    shutil.copytree(tiny_llama, model)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    return model


def test_a_chat_is_that_of_transformers(generate, chat_model):
    from transformers import AutoTokenizer

    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
    theirs = AutoTokenizer.from_pretrained(chat_model).apply_chat_template(
        messages, add_generation_prompt=True
    )["input_ids"]
    flags = ("--max-new-tokens", 4, "--chat")
    result = generate(*flags, "--system", "Be brief.", model=chat_model)
    assert result["prompt_ids"] == theirs
    assert result["prompt_ids"].count(0) == 1  # the template writes the BOS, the tokenizer adds it
    assert (result["prompt"], result["chat"]) == (PROMPT, True)
    assert result["system"] == "Be brief."
    alone = generate(*flags, model=chat_model)
    assert alone["system"] is None and len(alone["prompt_ids"]) < len(theirs)


def test_without_chat_the_template_is_only_named(generate, chat_model, tiny_llama, capsys):
    plain = generate("--max-new-tokens", 4, model=chat_model)
    assert plain["token_ids"] == generate("--max-new-tokens", 4)["token_ids"]
    assert plain["chat"] is False
    for model, told in ((chat_model, 1), (tiny_llama, 0)):
        assert run(["generate", str(model), PROMPT, "--max-new-tokens", "2"]) == 0
        assert capsys.readouterr().err.count("with --chat it answers the prompt") == told


def test_an_answer_stands_below_its_question(capsys, chat_model):
    assert run(["generate", str(chat_model), PROMPT, "--chat", "--max-new-tokens", "2"]) == 0
    assert capsys.readouterr().out.startswith(PROMPT + "\n")


def test_a_chat_needs_a_template_that_works(generate, chat_model, tiny_llama):
    assert "no chat template" in generate("--chat", model=tiny_llama, code=2)["error"]["what"]
    error = generate("--system", "x", model=chat_model, code=2)["error"]
    assert error["what"] == "system has no effect with chat: false"
    (chat_model / "chat_template.jinja").write_text("{{ raise_exception('users only') }}")
    assert "users only" in generate("--chat", model=chat_model, code=1)["error"]["what"]
