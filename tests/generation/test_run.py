"""`tfcli generate` from the command line."""

import io
import json
import math
import shutil
import subprocess
import sys

import pytest
import torch

from tfcli.commands.app import run
from tfcli.console import Console
from tfcli.generation.asked import text_settings
from tfcli.generation.display import printable
from tfcli.generation.prompts import read_prompts
from tfcli.generation.spec import GenerateSpec
from tfcli.models.config import config_from_recipe
from tfcli.recipe.execute import execute
from tfcli.tokenizers.load import load_tokenizer

PROMPT = "A class statement"
CONFIG = config_from_recipe({"model_type": "llama", "vocab_size": 320})


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


def test_how_likely_tokens_were_is_what_transformers_says(generate, tiny_llama, capsys):
    from transformers import AutoModelForCausalLM

    made = generate("--max-new-tokens", 6, "--logprobs", 3, "--suppress-tokens", 7)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    ids = torch.tensor([[*made["prompt_ids"], *made["token_ids"]]])
    known = model(ids).logits[0].detach().log_softmax(-1)[len(made["prompt_ids"]) - 1 :]
    for token, told, row in zip(made["token_ids"], made["logprobs"], known, strict=False):
        best = row.topk(3)
        assert told["id"] == token
        assert told["logprob"] == pytest.approx(float(row[token]), abs=1e-4)
        assert [each["id"] for each in told["top"]] == best.indices.tolist()
        assert [each["logprob"] for each in told["top"]] == pytest.approx(
            best.values.tolist(), abs=1e-4
        )
    assert "".join(each["token"] for each in made["logprobs"]) == made["text"]
    assert generate("--max-new-tokens", 6, "--suppress-tokens", 7)["logprobs"] is None
    run(["generate", str(tiny_llama), PROMPT, "--max-new-tokens", "1", "--logprobs", "1"])
    assert "%  '" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("--num-beams", 2), ("--prompt-lookup-num-tokens", 3)])
def test_tokens_that_are_not_picked_one_at_a_time_are_not_accounted_for(generate, flags):
    error = generate("--logprobs", 2, *flags, code=2)["error"]
    assert "picked one at a time" in error["what"]


def test_the_files_cache_is_taken_and_the_users_in_its_place(generate, tiny_llama, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_llama, model)
    file = model / "generation_config.json"
    for said, cache in [
        ({"cache_implementation": "static"}, "static"),
        ({"cache_implementation": "hybrid"}, "dynamic"),
        ({"cache_implementation": "quantized", "cache_config": {"nbits": 8}}, "quantized8"),
        ({"cache_implementation": "quantized"}, "quantized4"),
        ({}, "dynamic"),
    ]:
        file.write_text(json.dumps(said))
        assert generate("--max-new-tokens", 2, model=model)["cache"] == cache
        assert generate("--max-new-tokens", 2, "--cache", "paged", model=model)["cache"] == "paged"
    file.write_text('{"cache_implementation": "quantized", "cache_config": {"nbits": 2}}')
    assert "2 bits" in generate(model=model, code=1)["error"]["what"]
    file.write_text('{"cache_implementation": "endless"}')
    assert "'endless'" in generate(model=model, code=1)["error"]["what"]


def test_the_text_is_on_stdout_and_figures_are_on_stderr(capsys, tiny_llama):
    assert run(["generate", str(tiny_llama), PROMPT, "--max-new-tokens", "8"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(PROMPT)
    assert "8 tokens" in shown.err


@pytest.mark.parametrize("prompt", ["a\tb :heart: [bold]x[/bold]\r\n", "fin\u00a0\u200d\u3000", ""])
def test_stdout_is_the_prompt_and_the_text_byte_for_byte(generate, tiny_llama, capsys, prompt):
    made = generate("--max-new-tokens", 6, prompt=prompt)
    assert run(["generate", str(tiny_llama), prompt, "--max-new-tokens", "6"]) == 0
    assert capsys.readouterr().out == prompt + made["text"] + "\n"


def test_text_is_written_while_it_is_made_and_said_once(tiny_llama, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    pieces = []

    class Terminal(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            pieces.append(text)
            return len(text)

    spec = GenerateSpec(model=str(tiny_llama), prompt=PROMPT, max_new_tokens=20)
    made = execute(spec, Console.silent(), out=Terminal()).result
    assert "".join(pieces) == printable(PROMPT + made.text + "\n")
    assert len(pieces) > 5


def test_what_was_written_before_an_interruption_stays(tiny_llama):
    written = []

    class Interrupted(io.TextIOWrapper):
        def __init__(self):
            super().__init__(io.BytesIO())

        def flush(self):
            written.append(self.buffer.getvalue())
            if len(written) == 12:
                raise KeyboardInterrupt

    spec = GenerateSpec(model=str(tiny_llama), prompt=PROMPT, max_new_tokens=100)
    with pytest.raises(KeyboardInterrupt):
        execute(spec, Console.silent(), out=Interrupted())
    assert written[-1].startswith(written[11]) and written[-1].endswith(b"\n")
    assert written[11].startswith(PROMPT.encode()) and len(written[11]) > len(PROMPT)


def test_a_reader_that_leaves_early_is_no_failure(tiny_llama):
    tfcli = f"{sys.executable} -m tfcli.commands generate {tiny_llama} '{PROMPT}'"
    script = f"set -o pipefail; {tfcli} --max-new-tokens 30 --quiet | head -c 5"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, PROMPT[:5], "")


def test_an_answer_that_is_there_already_is_printed_again(tiny_llama, tmp_path, capsys):
    command = ["generate", str(tiny_llama), PROMPT, "--max-new-tokens", "5"]
    shown = []
    for _ in range(2):
        assert run([*command, "--output", str(tmp_path / "out")]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert shown[0].startswith(PROMPT)


@pytest.mark.parametrize("given", ["two\nlines\n", "no line end", "\u200d é\n\n"])
def test_a_dash_is_standard_input(generate, monkeypatch, given):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    result = generate("--max-new-tokens", 4, prompt="-")
    text = given.removesuffix("\n")
    assert result["prompt"] == text
    assert result["token_ids"] == generate("--max-new-tokens", 4, prompt=text)["token_ids"]


def test_standard_input_that_is_no_text_is_refused(generate, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe")))
    assert "not UTF-8" in generate(prompt="-", code=2)["error"]["what"]


@pytest.mark.parametrize("length", [1, 3, 6])
def test_a_stop_text_ends_the_answer_whatever_tokens_it_lies_in(
    generate, length, tiny_llama, capsys
):
    whole = generate("--max-new-tokens", 30)
    at = 4
    stop = whole["text"][at : at + length]
    result = generate("--max-new-tokens", 30, "--stop", "never there", "--stop", stop)
    cut = whole["text"].index(stop)
    assert (result["text"], result["finish_reason"]) == (whole["text"][:cut], "stop")
    assert result["token_ids"] == whole["token_ids"][: len(result["token_ids"])]
    assert result["stop"] == ["never there", stop]
    command = ["generate", str(tiny_llama), PROMPT, "--max-new-tokens", "30", "--stop", stop]
    assert run(command) == 0
    assert capsys.readouterr().out == PROMPT + result["text"] + "\n"


def test_a_special_token_can_stop_a_text(generate, tiny_llama, tmp_path):
    from tokenizers import AddedToken, Tokenizer

    whole = generate("--max-new-tokens", 12)
    model = tmp_path / "model"
    shutil.copytree(tiny_llama, model)
    backend = Tokenizer.from_file(str(model / "tokenizer.json"))
    stop = backend.id_to_token(whole["token_ids"][5])
    backend.add_special_tokens([AddedToken(stop, special=True)])
    backend.save(str(model / "tokenizer.json"))
    result = generate("--max-new-tokens", 12, "--stop", stop, model=model)
    assert result["finish_reason"] == "stop"
    assert stop not in result["text"]


def test_penalties_and_min_p_change_what_comes(generate):
    plain = generate("--max-new-tokens", 20)
    penalized = generate("--max-new-tokens", 20, "--repetition-penalty", 5)
    assert penalized["token_ids"] != plain["token_ids"]
    assert (plain["generation"], penalized["generation"]) == ({}, {"repetition_penalty": 5})
    drawn = ("--max-new-tokens", 20, "--temperature", 2)
    assert generate(*drawn)["token_ids"] != plain["token_ids"]
    assert generate(*drawn, "--min-p", 1)["token_ids"] == plain["token_ids"]


def test_the_checkpoints_penalty_counts_unless_another_is_asked_for(generate, tiny_llama, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_llama, model)
    (model / "generation_config.json").write_text('{"repetition_penalty": 5.0}')
    wanted = generate("--max-new-tokens", 20, "--repetition-penalty", 5)["token_ids"]
    assert generate("--max-new-tokens", 20, model=model)["token_ids"] == wanted
    plain = generate("--max-new-tokens", 20)["token_ids"]
    again = generate("--max-new-tokens", 20, "--repetition-penalty", 1, model=model)
    assert again["token_ids"] == plain


def test_rules_that_are_not_followed_are_named(tiny_llama, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(tiny_llama, model)
    said = {"token_healing": True, "do_sample": True, "temperature": 0.6}
    (model / "generation_config.json").write_text(json.dumps(said))
    assert run(["generate", str(model), PROMPT, "--max-new-tokens", "2"]) == 0
    told = capsys.readouterr().err
    assert "not followed: token_healing True" in told


def test_the_checkpoint_may_ask_for_draws_and_the_user_for_none(generate, tiny_llama, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(tiny_llama, model)
    (model / "generation_config.json").write_text('{"do_sample": true, "temperature": 1.5}')
    length = ("--max-new-tokens", 20)
    drawn = generate(*length, model=model)
    assert drawn["token_ids"] == generate(*length, "--temperature", 1.5)["token_ids"]
    assert drawn["temperature"] == 1.5
    plain = generate(*length)["token_ids"]
    for never in (("--temperature", 0), ("--no-do-sample",)):
        assert generate(*length, *never, model=model)["token_ids"] == plain


def test_rules_of_the_file_are_flags_too(generate):
    plain = generate("--max-new-tokens", 9)["token_ids"]
    first, third = plain[0], plain[2]
    flags = ("--suppress-tokens", first, "--suppress-tokens", third)
    assert not {first, third} & {*generate("--max-new-tokens", 9, *flags)["token_ids"]}
    key = "--exponential-decay-length-penalty"
    made = generate("--max-new-tokens", 9, key, 2, key, 1.5)
    assert made["generation"] == {"exponential_decay_length_penalty": [2.0, 1.5]}


def test_each_prompt_may_have_several_texts(generate):
    drawn = ("--max-new-tokens", 8, "--temperature", 2)
    made = generate(*drawn, "--num-return-sequences", 3)
    texts = [answer["token_ids"] for answer in made["answers"]]
    assert texts[0] == generate(*drawn)["token_ids"]
    assert len({*map(tuple, texts)}) == 3


def test_bad_words_are_those_at_the_beginning_and_after_a_space(tiny_llama):
    tokenizer = load_tokenizer(tiny_llama)
    spec = GenerateSpec(model="m", prompt="x", bad_words=["the"])
    settings = text_settings(spec, {}, CONFIG, tokenizer, Console.silent())
    assert dict(settings.rules.bias) == {
        tuple(tokenizer.encode(form, add_special_tokens=False)): -math.inf
        for form in ("the", " the")
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "A class\n\nAn object\r\nA\u2028line\n"),
        ("p.jsonl", '{"prompt": "A class"}\n{"prompt": "An object"}\n{"prompt": "A\\u2028line"}\n'),
    ],
)
def test_a_file_of_prompts_gives_each_its_own_answer(
    capsys, generate, tiny_llama, tmp_path, name, content
):
    path = tmp_path / name
    path.write_bytes(content.encode())
    prompts = ["A class", "An object", "A\u2028line"]
    flags = ("--max-new-tokens", "5", "--temperature", "1.5")
    command = ["generate", str(tiny_llama), "--prompts", str(path), *flags]
    assert run([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    alone = [generate(*flags, prompt=prompt) for prompt in prompts]
    assert [answer["prompt"] for answer in result["answers"]] == prompts
    assert [answer["token_ids"] for answer in result["answers"]] == [
        one["token_ids"] for one in alone
    ]
    assert result["prompt"] is result["text"] is None
    assert run(command) == 0
    shown = "".join(f"{one['prompt']}{one['text']}\n" for one in alone)
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "content"), [("p.txt", "A class\r\n"), ("P.JSONL", '{"prompt": "A class"}\r\n')]
)
def test_the_byte_order_mark_of_a_file_is_no_part_of_a_prompt(tmp_path, name, content, encoding):
    (tmp_path / name).write_bytes(content.encode(encoding))
    spec = GenerateSpec(model="m", prompts=str(tmp_path / name))
    assert read_prompts(spec) == ["A class"]


def test_a_prompt_or_a_file_of_them_is_needed(tiny_llama, tmp_path, capsys):
    (tmp_path / "p.txt").write_text("\n")
    for words, what in (
        ([], "give either prompt"),
        (["x", "--prompts", str(tmp_path / "p.txt")], "give either prompt"),
        (["--prompts", str(tmp_path / "p.txt")], "no prompt in it"),
        (["--prompts", str(tmp_path)], "not a folder"),
    ):
        assert run(["generate", str(tiny_llama), *words, "--json"]) == 2
        assert what in json.loads(capsys.readouterr().out)["error"]["what"]


@pytest.mark.parametrize(
    ("flags", "prompt", "what"),
    [
        ((), "word " * 200, "no room for new ones in the model's 128 positions"),
        (("--top-k", 5, "--temperature", 0), PROMPT, "top_k has no effect with temperature: 0"),
        (("--top-p", 0.5, "--no-do-sample"), PROMPT, "top_p has no effect with do_sample: false"),
        (("--temperature", 0, "--do-sample"), PROMPT, "do_sample has no effect with temperature"),
        (("--seed", 3), PROMPT, "seed has no effect where the likeliest token is taken"),
        (("--num-return-sequences", 2), PROMPT, "num_return_sequences has no effect where"),
        (("--temperature", -1), PROMPT, "greater than or equal to 0"),
        (("--temperature", "inf"), PROMPT, "finite"),
        (("--temperature", "nan"), PROMPT, "finite"),
        (("--seed", 2**64), PROMPT, "less than"),
        (("--seed", -1), PROMPT, "greater than or equal to 0"),
        (("--repetition-penalty", 0), PROMPT, "greater than 0"),
        (("--stop", ""), PROMPT, "at least 1 character"),
        (("--temperature", 1, "--top-p", 1.5), PROMPT, "less than or equal to 1"),
        (("--max-new-tokens", 0), PROMPT, "greater than or equal to 1"),
        (("--temperature", 1e-320), PROMPT, "too near to 0"),
        (("--temperature", 9e-7), PROMPT, "too near to 0"),
    ],
)
def test_what_cannot_be_is_refused(generate, flags, prompt, what):
    assert what in generate(*flags, prompt=prompt, code=2)["error"]["what"]


def test_the_smallest_temperature_takes_the_likeliest(generate):
    drawn = generate("--temperature", 1e-6, "--max-new-tokens", 8)
    assert drawn["token_ids"] == generate("--max-new-tokens", 8)["token_ids"]


def test_temperatures_and_seeds_work_to_the_ends_of_their_types(generate):
    assert generate("--temperature", 1.7e308, "--seed", 2**64 - 1, "--max-new-tokens", 4)


@pytest.mark.parametrize("extra", [0, 1, 372])
def test_a_text_ends_with_the_models_positions_and_it_is_said(generate, tiny_llama, capsys, extra):
    """A model mostly ends before, so asking for more than fits is no reason to make nothing."""
    room = 128 - len(load_tokenizer(tiny_llama).encode(PROMPT))
    result = generate("--max-new-tokens", room)
    assert (len(result["token_ids"]), result["finish_reason"]) == (room, "length")
    asked = ["--max-new-tokens", str(room + extra)]
    assert generate(*asked)["token_ids"] == result["token_ids"]
    assert run(["generate", str(tiny_llama), PROMPT, *asked]) == 0
    said = f"room for {room} of {room + extra} new tokens"
    assert (said in capsys.readouterr().err) == (extra > 0)


def test_each_prompt_of_a_file_has_its_own_room(generate, tiny_llama, tmp_path, capsys):
    (tmp_path / "p.txt").write_text(f"A class\n{'A class ' * 10}\n")
    words = ["generate", str(tiny_llama), "--prompts", str(tmp_path / "p.txt"), "--json"]
    assert run([*words, "--max-new-tokens", "500"]) == 0
    shown = capsys.readouterr()
    answers = json.loads(shown.out)["answers"]
    lengths = [len(one["prompt_ids"]) + len(one["token_ids"]) for one in answers]
    assert lengths == [128, 128]
    assert f"room for {len(answers[1]['token_ids'])} of 500" in shown.err


def test_an_empty_prompt_needs_a_bos(generate, tiny_llama, tmp_path):
    assert generate("--max-new-tokens", 2, prompt="")["prompt_ids"] == [0]
    bare = tmp_path / "bare"
    shutil.copytree(tiny_llama, bare)
    change(bare / "tokenizer.json", post_processor=None)
    for name in ("tokenizer_config.json", "config.json"):
        # A BOS that stands before no other text, by the tokenizer or by the model.
        assert generate("--max-new-tokens", 2, model=bare, prompt="")["prompt_ids"] == [0]
        assert generate("--max-new-tokens", 2, model=bare)["prompt_ids"][0] != 0
        change(bare / name, bos_token=None, bos_token_id=None)
    assert "no tokens" in generate(model=bare, prompt="", code=2)["error"]["what"]


def change(path, **keys):
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


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
        assert capsys.readouterr().err.count("--chat puts the prompt into it") == told


def test_an_answer_stands_alone_and_a_continuation_after_its_prompt(capsys, generate, chat_model):
    def shown(*flags):
        command = ["generate", str(chat_model), PROMPT, "--max-new-tokens", "4", *flags]
        assert run(command) == 0
        return capsys.readouterr().out

    answer = generate("--chat", "--max-new-tokens", 4, model=chat_model)["text"]
    more = generate("--max-new-tokens", 4, model=chat_model)["text"]
    assert shown("--chat") == answer + "\n"
    assert shown("--chat", "--echo") == f"{PROMPT}\n{answer}\n"
    assert shown() == PROMPT + more + "\n"
    assert shown("--no-echo") == more + "\n"


def test_a_chat_needs_a_template_that_works(generate, chat_model, tiny_llama):
    assert "no chat template" in generate("--chat", model=tiny_llama, code=2)["error"]["what"]
    error = generate("--system", "x", model=chat_model, code=2)["error"]
    assert error["what"] == "system has no effect with chat: false"
    (chat_model / "chat_template.jinja").write_text("{{ raise_exception('users only') }}")
    assert "users only" in generate("--chat", model=chat_model, code=1)["error"]["what"]
