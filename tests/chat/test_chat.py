"""`tfcli chat` through a pipe and in a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import sys

import pytest
import torch

from tests.models.tiny import tiny_model
from tfcli.chat.session import Conversation, Talking
from tfcli.checkpoints.folder import load_model, open_model, save_model
from tfcli.commands.app import run
from tfcli.errors import UsageError
from tfcli.generation.settings import TextSettings
from tfcli.tokenizers.load import load_tokenizer

TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_tokenizer):
    path = tmp_path_factory.mktemp("chat") / "m"
    model = tiny_model("llama", vocab_size=320, max_position_embeddings=512)
    save_model(model, path, tokenizer_from=tiny_tokenizer)
    (path / "chat_template.jinja").write_text(TEMPLATE)
    return path


@pytest.fixture
def chat(folder, capsys, monkeypatch):
    def call(lines, *flags, code=0):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        capsys.readouterr()
        assert run(["chat", str(folder), "--max-new-tokens", "8", *map(str, flags)]) == code
        return capsys.readouterr()

    return call


def talking(folder, **options):
    checkpoint = open_model(folder)
    conversation = Conversation(checkpoint, load_tokenizer(folder), "causal-lm")
    return Talking(load_model(folder), conversation, 8, **options)


def test_later_turns_read_what_is_new_alone_and_say_the_same(folder):
    talk = talking(folder)
    for text in ("A class statement", "And an object?", "Why?"):
        talk.conversation.say(text)
        before = talk.read_tokens
        prompt = talk.conversation.prompt().ids
        made = talk.answer(TextSettings(), 0, lambda piece: None)
        fresh = talking(folder)
        fresh.conversation.messages = talk.conversation.messages[:-1]
        assert fresh.answer(TextSettings(), 0, lambda piece: None) == made
        assert fresh.read_tokens == len(prompt)
    assert talk.read_tokens - before < len(prompt) / 2


@pytest.mark.parametrize(
    ("model_type", "settings"), [("mamba", {}), ("mistral", {"max_position_embeddings": 256})]
)
def test_what_cannot_be_forgotten_is_read_again(model_type, settings, tmp_path, tiny_tokenizer):
    model = tiny_model(model_type, vocab_size=320, **settings)
    save_model(model, tmp_path / "m", tokenizer_from=tiny_tokenizer)
    (tmp_path / "m" / "chat_template.jinja").write_text(TEMPLATE)
    talk = talking(tmp_path / "m")
    for text in ("A class", "An object"):
        talk.conversation.say(text)
        ids = talk.conversation.prompt().ids
        made = talk.answer(TextSettings(), 0, lambda piece: None)
        wanted = list(ids)
        for _ in range(8):
            logits = talk.model(input_ids=torch.tensor([wanted])).logits
            wanted.append(int(logits[0, -1].argmax()))
        assert made == talk.conversation.tokenizer.decode(wanted[len(ids) :])


def test_an_interrupted_answer_is_kept_as_far_as_it_came(folder):
    talk = talking(folder)
    talk.conversation.say("A class")
    pieces = []

    def show(piece):
        pieces.append(piece)
        if len(pieces) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        talk.answer(TextSettings(), 0, show)
    assert talk.conversation.messages[-1]["role"] == "assistant"
    talk.conversation.say("Go on")
    assert talk.answer(TextSettings(), 0, lambda piece: None)


def test_lines_of_a_pipe_are_messages(chat):
    made = chat(["A class", "/system Be brief.", "An object"], "--json")
    result = json.loads(made.out)
    roles = [message["role"] for message in result["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert result["turns"] == 2 and result["new_tokens"] <= 16
    plain = chat(["A class"])
    assert "1 answers" in plain.err
    said = json.loads(chat(["A class"], "--json").out)["messages"][1]["content"]
    assert plain.out.strip() == said.replace("\x1b", "\ufffd").strip()


def test_a_conversation_is_saved_and_gone_on_with(chat, tmp_path):
    file = tmp_path / "talk.json"
    chat(["A class", f"/save {file}"], "--quiet")
    saved = json.loads(file.read_text())
    assert [message["role"] for message in saved] == ["user", "assistant"]
    again = json.loads(chat(["Why?"], "--history", file, "--json").out)
    assert again["messages"][:2] == saved and len(again["messages"]) == 4
    loaded = json.loads(chat([f"/load {file}", "Why?"], "--json").out)
    assert loaded["messages"] == again["messages"]


def test_a_dry_run_shows_what_the_model_would_read(chat, folder):
    made = chat(["A class"], "--system", "Be brief.", "--dry-run")
    text, ids = made.out.rstrip("\n").rsplit("\n", 1)
    assert text == "<system>Be brief.\n<user>A class\n<assistant>"
    assert json.loads(ids) == load_tokenizer(folder).encode(text)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("/sytem x", "/sytem is no command"),
        ("/save", "something is missing"),
        ("/load nowhere.json", "there is no nowhere.json"),
        ("/image x.png", "the model reads text alone"),
        ("/set temprature=1", "temprature is no key of how text is made"),
        ("/set top_p=3", "less than or equal to 1"),
        ("word " * 600, "no room for new ones"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_conversation_goes_on(chat, line, what):
    made = chat([line, "A class"], "--json")
    assert what in " ".join(made.err.split())
    assert json.loads(made.out)["turns"] == 1


@pytest.mark.parametrize("flags", [("--num-beams", 3), ("--prompt-lookup-num-tokens", 3)])
def test_every_strategy_answers_turn_after_turn(chat, flags):
    made = json.loads(chat(["A class", "Why?"], *flags, "--json").out)
    assert made["turns"] == 2 and made["new_tokens"] > 8


def test_what_a_conversation_has_no_use_for_is_refused(chat):
    made = chat([], "--negative-prompt", "x", "--json", code=2)
    assert "not for conversations" in json.loads(made.out)["error"]["what"]


def test_keys_of_the_text_can_be_changed(chat):
    plain = json.loads(chat(["A class"], "--json").out)["messages"][-1]
    drawn = chat(["/set temperature=5", "/set seed=3", "A class"], "--json")
    assert json.loads(drawn.out)["messages"][-1] != plain
    short = json.loads(chat(["/set max_new_tokens=2", "A class"], "--json").out)
    assert short["new_tokens"] == 2


def test_a_model_without_a_template_is_refused(tiny_llama, capsys):
    assert run(["chat", str(tiny_llama)]) == 2
    assert "no chat template" in capsys.readouterr().err


def test_in_a_terminal_answers_are_drawn(folder):
    """A real terminal: a prompt, an answer, Ctrl-D."""
    command = [sys.executable, "-m", "tfcli.commands", "chat", str(folder), "--max-new-tokens", "6"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, command)
    seen, said = b"", False
    while True:
        try:
            seen += os.read(terminal, 4096)
        except OSError:
            break
        if b">>> " in seen and not said:
            os.write(terminal, b"A class\n")
            said = True
        elif said and seen.count(b">>> ") >= 2:
            os.write(terminal, b"\x04")
            said, seen = None, seen.replace(b">>> ", b"")
    assert os.waitpid(pid, 0)[1] == 0
    assert b"1 answers, 6 tokens" in seen


def test_a_model_that_answers_texts_is_sent_to_generate(tmp_path, tiny_tokenizer):
    save_model(tiny_model("bart", vocab_size=320), tmp_path / "m", tokenizer_from=tiny_tokenizer)
    with pytest.raises(UsageError, match="no chat template"):
        Conversation(open_model(tmp_path / "m"), load_tokenizer(tmp_path / "m"), "seq2seq-lm")
