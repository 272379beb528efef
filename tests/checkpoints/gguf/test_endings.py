"""What ends a text reaches GGUF and comes back, and nothing that does is dropped in silence."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken

from tests.checkpoints.gguf.convert import from_gguf, plan, to_gguf
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import model
from tests.tokenizers import folders as tokenizers
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.read import read
from tfcli.errors import WorkError
from tfcli.tokenizers.load import load_tokenizer

OWN = r"tfcli\.|tokenizer\.huggingface"


def folder_with(tmp_path, added=(), stops=None, rows=None, **declared):
    """A GPT-2 tokenizer with added tokens, and a model of its size or of `rows`."""
    settings = {"eos_token": "<|endoftext|>", **declared}
    folder = tokenizers.make(tmp_path / "hf", "gpt2", tokenizer_config=settings)
    backend = load_tokenizer(folder).backend
    backend.add_special_tokens([AddedToken(text, special=True) for text in added])
    backend.save(str(folder / "tokenizer.json"))
    size = load_tokenizer(folder).vocab_size
    save_model(model("gpt2", vocab_size=size if rows is None else size + rows), folder)
    if stops is not None:
        ids = [backend.token_to_id(text) for text in stops]
        settings = {"eos_token_id": ids, "top_p": 0.9}
        (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder, backend.token_to_id


def opened(file, folder):
    """The generation_config.json that goes along with a file's checkpoint."""
    folder.mkdir()
    names = read(file, Reading()).carry(folder)
    path = folder / "generation_config.json"
    assert path.exists() == ("generation_config.json" in names)
    return json.loads(path.read_text()) if path.exists() else None


def test_every_id_that_ends_a_text_has_a_key_and_comes_back(tmp_path):
    texts = ["<|eot_id|>", "<|eom_id|>"]
    folder, index = folder_with(tmp_path, texts, ["<|endoftext|>", *texts])
    to_gguf(folder, tmp_path / "model.gguf")
    found = GGUFFile(tmp_path / "model.gguf").metadata
    keys = ("eos_token_id", "eot_token_id", "eom_token_id")
    assert [found[f"tokenizer.ggml.{key}"] for key in keys] == [
        index(text) for text in ("<|endoftext|>", *texts)
    ]
    written = json.loads((folder / "generation_config.json").read_text())
    assert opened(tmp_path / "model.gguf", tmp_path / "own") == written
    plain = rewrite(tmp_path / "model.gguf", tmp_path / "plain.gguf", OWN)
    assert opened(plain, tmp_path / "plain")["eos_token_id"] == written["eos_token_id"]


def test_an_end_that_was_changed_in_the_file_counts(tmp_path):
    folder, index = folder_with(tmp_path, ["<other>"], ["<|endoftext|>"])
    to_gguf(folder, tmp_path / "model.gguf")
    change = {"tokenizer.ggml.eos_token_id": Value("uint32", index("<other>"))}
    edited = rewrite(tmp_path / "model.gguf", tmp_path / "edited.gguf", change=change)
    assert opened(edited, tmp_path / "back")["eos_token_id"][0] == index("<other>")


def test_tokens_at_which_llama_cpp_ends_by_their_text_end_here_too(tmp_path):
    folder, index = folder_with(tmp_path, ["<end_of_turn>", "<|im_start|>"])
    to_gguf(folder, tmp_path / "model.gguf")
    plain = rewrite(tmp_path / "model.gguf", tmp_path / "plain.gguf", OWN)
    ends = opened(plain, tmp_path / "back")["eos_token_id"]
    assert index("<end_of_turn>") in ends and index("<|im_start|>") not in ends


def test_tokens_that_are_never_made_go_along(tmp_path):
    folder, index = folder_with(tmp_path, ["<image>"])
    silent = {"suppress_tokens": [index("<image>")]}
    (folder / "generation_config.json").write_text(json.dumps(silent))
    to_gguf(folder, tmp_path / "model.gguf")
    found = GGUFFile(tmp_path / "model.gguf").metadata["tokenizer.ggml.suppress_tokens"]
    assert list(found) == silent["suppress_tokens"]
    plain = rewrite(tmp_path / "model.gguf", tmp_path / "plain.gguf", OWN)
    assert opened(plain, tmp_path / "plain")["suppress_tokens"] == silent["suppress_tokens"]


def test_an_end_for_which_gguf_has_no_key_is_told(tmp_path):
    texts = ["<a>", "<b>", "<c>"]
    folder, index = folder_with(tmp_path, texts, ["<|endoftext|>", *texts])
    said = " ".join(plan(folder).notes)
    assert f"does not end at '<c>' ({index('<c>')})" in said and "<a>" not in said


def test_a_checkpoint_whose_config_says_all_gets_no_generation_config(tmp_path):
    folder, _ = folder_with(tmp_path)
    to_gguf(folder, tmp_path / "model.gguf")
    assert opened(tmp_path / "model.gguf", tmp_path / "back") is None


@pytest.mark.parametrize("role", ["eos_token", "bos_token"])
def test_an_end_or_a_beginning_beyond_the_rows_of_the_model_is_refused(role, tmp_path):
    folder, index = folder_with(tmp_path, ["<new>"], rows=-1, **{role: "<new>"})
    with pytest.raises(WorkError) as caught:
        plan(folder)
    assert f"{role} '<new>' is id {index('<new>')}" in str(caught.value)
    assert "--no-tokenizer" in str(caught.value)


def test_an_end_that_only_the_generation_config_names_is_refused_beyond_the_rows(tmp_path):
    folder, _ = folder_with(tmp_path, ["<new>"], ["<|endoftext|>", "<new>"], rows=-1)
    with pytest.raises(WorkError, match="eos_token_id '<new>'"):
        plan(folder)


def test_other_tokens_beyond_the_rows_are_left_out_and_named(tmp_path):
    texts = [f"<new {place}>" for place in range(10)]
    folder, index = folder_with(tmp_path, texts, rows=-10)
    said = next(note for note in plan(folder).notes if "rows of the model" in note)
    assert f"'<new 0>' ({index('<new 0>')})" in said and said.endswith("and 2 more")
    to_gguf(folder, tmp_path / "model.gguf")
    assert len(GGUFFile(tmp_path / "model.gguf").metadata["tokenizer.ggml.tokens"]) == index(
        "<new 0>"
    )


def test_more_tokens_than_rows_are_refused_when_they_are_read(tmp_path):
    folder, _ = folder_with(tmp_path)
    to_gguf(folder, tmp_path / "model.gguf")
    tokens = GGUFFile(tmp_path / "model.gguf").metadata["tokenizer.ggml.tokens"]
    change = {
        "tokenizer.ggml.tokens": Value("array[string]", [*tokens, "more"]),
        "tokenizer.ggml.token_type": Value("array[int32]", [1] * (len(tokens) + 1)),
    }
    edited = rewrite(tmp_path / "model.gguf", tmp_path / "edited.gguf", change=change)
    with pytest.raises(WorkError, match=f"{len(tokens) + 1} tokens for {len(tokens)} rows"):
        from_gguf(edited, tmp_path / "back")


@pytest.mark.parametrize(
    ("pre", "begins"), [("llama-bpe", True), ("tekken", True), ("gpt-2", False)]
)
def test_where_no_key_says_it_a_bos_is_put_as_llama_cpp_puts_it(pre, begins, tmp_path):
    folder, index = folder_with(tmp_path, ["<begin>"], bos_token="<begin>")
    to_gguf(folder, tmp_path / "model.gguf")
    drop = rf"{OWN}|tokenizer\.ggml\.add_bos_token"
    change = {"tokenizer.ggml.pre": Value("string", pre)}
    from_gguf(
        rewrite(tmp_path / "model.gguf", tmp_path / "p.gguf", drop, change), tmp_path / "back"
    )
    ids = load_tokenizer(tmp_path / "back").encode("hello")
    assert (ids[0] == index("<begin>")) == begins


def test_what_stands_around_a_text_and_no_flag_says_is_told(tmp_path):
    folder, _ = folder_with(tmp_path, ["<one>", "<two>"])
    spec = json.loads((folder / "tokenizer.json").read_text())
    backend = load_tokenizer(folder).backend
    two = [{"SpecialToken": {"id": text, "type_id": 0}} for text in ("<one>", "<two>")]
    body = {"Sequence": {"id": "A", "type_id": 0}}
    spec["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [*two, body],
        "pair": [*two, body, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            text: {"id": text, "ids": [backend.token_to_id(text)], "tokens": [text]}
            for text in ("<one>", "<two>")
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    assert any("before a text" in note for note in plan(folder).notes)
