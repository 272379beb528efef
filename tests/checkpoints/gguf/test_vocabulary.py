"""Tokenizers of each kind as GGUF keys: back from them, and in llama.cpp."""

from __future__ import annotations

import json

import gguf
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tests.checkpoints.gguf.convert import from_gguf, plan, to_gguf
from tests.checkpoints.gguf.files import rewrite
from tests.checkpoints.gguf.folders import VOCAB, model, write_folder
from tests.checkpoints.gguf.llama_cpp import LlamaCpp
from tests.tokenizers import folders as tokenizers
from tests.tokenizers.texts import NASTY
from tfcli.checkpoints.container import Reading
from tfcli.checkpoints.folder import load_model, save_model
from tfcli.checkpoints.gguf.file import GGUFFile
from tfcli.checkpoints.gguf.file_write import Value
from tfcli.checkpoints.gguf.from_gguf import plan_from_gguf
from tfcli.checkpoints.gguf.pretokenizers import PATTERNS, TEST_TEXT, name_of, pre_tokenizer
from tfcli.checkpoints.gguf.read import read
from tfcli.errors import WorkError
from tfcli.tokenizers.chat_folder import find_templates
from tfcli.tokenizers.load import load_tokenizer

# family of tokenizers.folders -> family of the model, llama.cpp's kind and pre-tokenizer
KINDS = {
    "llama": ("llama", "llama", "default"),
    "gemma": ("gemma", "llama", "default"),
    "gpt2": ("gpt2", "gpt2", "gpt-2"),
    "qwen2": ("qwen2", "gpt2", "qwen2"),
    "llama-3": ("llama", "gpt2", "llama-bpe"),
    "bert": ("bert", "bert", "default"),
}
# Where llama.cpp cuts a text in another way by design: how many of the texts.
# llama: a space before a text or after a special token that has one already is doubled, as
# SentencePiece does and transformers does not. gemma: runs of spaces are found before all else.
# qwen2, bert: it does not bring text into Unicode's form NFC, or strips accents in another way.
DIFFER = {"llama": 9, "gemma": 2, "qwen2": 4, "bert": 4}
OWN = r"tfcli\.|tokenizer\.huggingface"


def convert(tmp_path, family):
    folder = tokenizers.make(tmp_path / family, family)
    tokenizer = load_tokenizer(folder)
    save_model(model(KINDS[family][0], vocab_size=tokenizer.vocab_size + 3), folder)
    to_gguf(folder, tmp_path / "model.gguf", name="tiny")
    return tokenizer, tmp_path / "model.gguf"


def roles(tokenizer):
    """The tokenizer's, and the config's end of a text where it names none."""
    named = tokenizer.special_ids
    return named if "sep_token" in named else {"eos_token": 0, **named}


@pytest.mark.parametrize("family", KINDS)
def test_the_tokenizer_comes_back_as_it_was(family, tmp_path):
    tokenizer, file = convert(tmp_path, family)
    found = GGUFFile(file).metadata
    assert (found["tokenizer.ggml.model"], found["tokenizer.ggml.pre"]) == KINDS[family][1:]
    assert len(found["tokenizer.ggml.tokens"]) == tokenizer.vocab_size + 3
    from_gguf(file, tmp_path / "back")
    back = load_tokenizer(tmp_path / "back")
    assert back.special_ids == roles(tokenizer)
    assert [back.encode(text) for text in NASTY] == [tokenizer.encode(text) for text in NASTY]


@pytest.mark.parametrize("family", KINDS)
def test_a_tokenizer_is_made_from_llama_cpps_keys_alone(family, tmp_path):
    tokenizer, file = convert(tmp_path, family)
    from_gguf(rewrite(file, tmp_path / "plain.gguf", OWN), tmp_path / "back")
    back = load_tokenizer(tmp_path / "back")
    assert back.special_ids == roles(tokenizer)
    differ = [text for text in NASTY if back.encode(text) != tokenizer.encode(text)]
    assert len(differ) <= (DIFFER[family] if family in ("llama", "gemma") else 0)


@pytest.mark.interop
@pytest.mark.parametrize("family", KINDS)
def test_llama_cpp_cuts_texts_the_same_way(family, tmp_path):
    """It does not say its ids; what follows a text and what follows our ids must be equal."""
    tokenizer, file = convert(tmp_path, family)
    bert = family == "bert"
    letter = tokenizer.backend.token_to_id("a")
    theirs = LlamaCpp(file, tokenizer.vocab_size + 3, letter=letter, embedding=bert)
    differ = []
    for text in NASTY:
        ids = tokenizer.encode(text)
        if not ids or len(ids) > 100 or len(text) > 128:
            continue
        ask = theirs.state if bert else theirs.logprobs
        if not torch.equal(ask(text), ask(ids)):
            differ.append(text)
    assert len(differ) <= DIFFER.get(family, 0)


def test_a_tokenizer_json_of_other_tokens_is_not_used(tmp_path):
    tokenizer, file = convert(tmp_path, "gpt2")
    tokens = list(GGUFFile(file).metadata["tokenizer.ggml.tokens"])
    place = tokens.index("Z")
    tokens[place] = "changed"
    change = {"tokenizer.ggml.tokens": Value("array[string]", tokens)}
    from_gguf(rewrite(file, tmp_path / "edited.gguf", change=change), tmp_path / "back")
    assert load_tokenizer(tmp_path / "back").backend.id_to_token(place) == "changed"
    assert tokenizer.backend.id_to_token(place) == "Z"


def test_a_chat_template_goes_along(tmp_path):
    folder = tokenizers.make(tmp_path / "gpt2", "gpt2")
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    save_model(model("gpt2", vocab_size=453), folder)
    to_gguf(folder, tmp_path / "model.gguf")
    found = GGUFFile(tmp_path / "model.gguf").metadata["tokenizer.chat_template"]
    assert found == "{{ messages[0].content }}"
    from_gguf(tmp_path / "model.gguf", tmp_path / "back")
    assert load_tokenizer(tmp_path / "back").chat_template == found


def cased(tmp_path, lower, strips):
    """A WordPiece tokenizer whose file declares no roles, and a GGUF file with it."""
    folder = tokenizers.make(tmp_path / "bert", "bert")
    backend = load_tokenizer(folder).backend
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower, strip_accents=strips)
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = load_tokenizer(folder)
    save_model(model("bert", vocab_size=tokenizer.vocab_size), folder)
    to_gguf(folder, tmp_path / "model.gguf", "F32")
    return tokenizer


LETTERS = pytest.mark.parametrize(
    ("lower", "strips"), [(True, None), (False, None), (False, True), (True, False)]
)


@pytest.mark.interop
@LETTERS
def test_llama_cpp_keeps_cased_words_cased(lower, strips, tmp_path):
    tokenizer = cased(tmp_path, lower, strips)
    theirs = LlamaCpp(tmp_path / "model.gguf", 1, embedding=True)
    for text in ("the cat sat", "The Cat SAT", "Hello"):
        assert torch.equal(theirs.state(text), theirs.state(tokenizer.encode(text)))


@LETTERS
def test_cased_words_stay_cased(lower, strips, tmp_path):
    tokenizer = cased(tmp_path, lower, strips)
    from_gguf(rewrite(tmp_path / "model.gguf", tmp_path / "plain.gguf", OWN), tmp_path / "back")
    back = load_tokenizer(tmp_path / "back")
    assert [back.encode(text) for text in NASTY] == [tokenizer.encode(text) for text in NASTY]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_special_tokens_that_no_key_names_are_those_that_llama_cpp_takes(family, tmp_path):
    _, file = convert(tmp_path, family)
    ids = {"bert": {"bos_token": 101, "sep_token": 102}, "llama": {"bos_token": 1, "eos_token": 2}}
    types = [3] * len(GGUFFile(file).metadata["tokenizer.ggml.tokens"])
    change = {"tokenizer.ggml.token_type": Value("array[int32]", types)}
    edited = rewrite(file, tmp_path / "a.gguf", rf"{OWN}|tokenizer\.ggml\..*_id$", change)
    found = plan_from_gguf(edited).vocabulary
    assert {role: found.tokens.index(found.role(role)) for role in ids[family]} == ids[family]
    change = {"tokenizer.ggml.token_type": Value("array[int32]", [1] * len(types))}
    edited = rewrite(file, tmp_path / "b.gguf", rf"{OWN}|tokenizer\.ggml\..*_id$", change)
    assert plan_from_gguf(edited).vocabulary.role("bos_token") is None


NAMED = {"default": "D", "tool_use": "T{{ tools }}", "rag": "R"}


def test_named_chat_templates_go_along_bidirectional(tmp_path):
    named = [{"name": name, "template": text} for name, text in NAMED.items()]
    declared = {"chat_template": named}
    folder = tokenizers.make(tmp_path / "gpt2", "gpt2", tokenizer_config=declared)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/my-own.jinja").write_text("O")
    save_model(model("gpt2", vocab_size=453), folder)
    to_gguf(folder, tmp_path / "model.gguf")
    found = gguf.GGUFReader(tmp_path / "model.gguf").fields
    assert found["tokenizer.chat_template"].contents() == "D"
    assert found["tokenizer.chat_template.tool_use"].contents() == "T{{ tools }}"
    assert set(found["tokenizer.chat_templates"].contents()) == {"tool_use", "rag", "my_own"}
    from_gguf(tmp_path / "model.gguf", tmp_path / "back")
    assert find_templates(tmp_path / "back") == {**NAMED, "my_own": "O"}
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert theirs.chat_template == {**NAMED, "my_own": "O"}


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "x" * 99])
def test_a_template_whose_name_is_no_files_is_refused(name, tmp_path):
    _, file = convert(tmp_path, "gpt2")
    change = {f"tokenizer.chat_template.{name}": Value("string", "T")}
    with pytest.raises(WorkError, match="no template's name"):
        from_gguf(rewrite(file, tmp_path / "edited.gguf", change=change), tmp_path / "back")


@pytest.mark.parametrize("name", [*PATTERNS, "gpt-2", "starcoder"])
def test_a_pre_tokenizer_is_known_by_its_rules(name):
    assert name_of(lambda text: [1], {"pre_tokenizer": pre_tokenizer(name)}) == name


@pytest.mark.parametrize(
    ("behaviour", "invert"), [("Isolated", False), ("Removed", True)], ids=["cut", "kept"]
)
def test_the_pattern_of_o200k_is_gpt_4o_however_it_is_applied(behaviour, invert):
    spec = pre_tokenizer("gpt-4o")
    spec["pretokenizers"][0] |= {"behavior": behaviour, "invert": invert}
    assert name_of(lambda text: [1], {"pre_tokenizer": spec}) == "gpt-4o"
    spec["pretokenizers"][0] |= {"behavior": "MergedWithNext", "invert": False}
    assert name_of(lambda text: [1], {"pre_tokenizer": spec}) is None


@pytest.mark.parametrize("contractions", ["'s|'t|'re|'ve|'m|'ll|'d", "'(?:[sdmt]|ll|ve|re)"])
@pytest.mark.parametrize(
    ("before", "name"),
    [
        ([], "gpt-2"),
        ([{"type": "Digits", "individual_digits": True}], "starcoder"),
        ([{"type": "Digits", "individual_digits": False}], None),
    ],
)
def test_gpt_2_s_pattern_may_be_spelt_out(before, name, contractions):
    """Instead of a ByteLevel that cuts by itself."""
    pattern = contractions + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    last = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    steps = {"type": "Sequence", "pretokenizers": [*before, {**split, "invert": False}, last]}
    assert name_of(lambda text: [1], {"pre_tokenizer": steps}) == name


CUTS = (
    "it's IT'S 12345 1,234.5 a1b2",
    "HelloWorld XMLHttp fooBar/baz\n\n  x\t y",
    "\u65e5\u672c\u8a9e 123 \ud55c\uad6d\uc5b4. foo!bar <=> $9 \U0001f999\U0001f999",
)


@pytest.mark.interop
@pytest.mark.parametrize("name", [*PATTERNS, "gpt-2", "starcoder", "llama4", "smollm"])
def test_llama_cpp_cuts_words_as_the_pre_tokenizer_of_the_name_does(name, tmp_path):
    write_folder(tmp_path / "hf", "llama")
    to_gguf(tmp_path / "hf", tmp_path / "model.gguf")
    change = {
        "tokenizer.ggml.pre": Value("string", name),
        "tokenizer.ggml.add_bos_token": Value("bool", False),
    }
    file = rewrite(tmp_path / "model.gguf", tmp_path / "named.gguf", OWN, change)
    from_gguf(file, tmp_path / "back")
    tokenizer, theirs = load_tokenizer(tmp_path / "back"), LlamaCpp(file, VOCAB)
    for text in CUTS:
        assert torch.equal(theirs.logprobs(text), theirs.logprobs(tokenizer.encode(text))), text


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.ggml.pre": Value("string", "something-new")},
        {"tokenizer.ggml.model": Value("string", "rwkv")},
    ],
)
def test_weights_are_read_whatever_the_tokenizer_is(change, tmp_path):
    _, file = convert(tmp_path, "gpt2")
    edited = rewrite(file, tmp_path / "edited.gguf", OWN, change)
    assert load_model(edited).config.vocab_size == read(edited, Reading()).config["vocab_size"]
    with pytest.raises(WorkError, match="is not covered") as caught:
        read(edited, Reading()).beside  # noqa: B018
    assert "--no-tokenizer" in str(caught.value) and "edited.gguf" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("gpt-2", ["it", "'s", "Ġ1234", "!"]),
        ("starcoder", ["it", "'s", "Ġ", "1", "2", "3", "4", "!"]),
        ("qwen2", ["it", "'s", "Ġ", "1", "2", "3", "4", "!"]),
        ("llama-bpe", ["it", "'s", "Ġ", "123", "4", "!"]),
        ("tekken", ["it", "'s", "Ġ", "1", "2", "3", "4", "!"]),
    ],
)
def test_what_the_pre_tokenizers_cut(name, pieces):
    spec = json.loads(Tokenizer(models.BPE()).to_str()) | {"pre_tokenizer": pre_tokenizer(name)}
    cut = Tokenizer.from_str(json.dumps(spec)).pre_tokenizer.pre_tokenize_str("it's 1234!")
    assert [piece for piece, _ in cut] == pieces


def test_the_test_text_is_llama_cpps():
    assert len(TEST_TEXT) == 350 and TEST_TEXT.startswith("\n \n\n") and "'RE you" in TEST_TEXT


def test_tokenizers_that_llama_cpp_lacks_are_refused(tmp_path):
    declared = {"tokenizer_class": "T5Tokenizer"}
    unigram = tokenizers.make(tmp_path / "t5", "t5", tokenizer_config=declared)
    save_model(model("llama", vocab_size=600), unigram)
    with pytest.raises(WorkError, match="kind Unigram is not covered"):
        plan(unigram)
    other = tokenizers.make(tmp_path / "gpt2", "gpt2")
    save_model(model("gpt2", vocab_size=453), other)
    backend = load_tokenizer(other).backend
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.save(str(other / "tokenizer.json"))
    with pytest.raises(WorkError, match="no name for how this tokenizer cuts"):
        plan(other)
    with pytest.raises(WorkError, match="--no-tokenizer"):
        plan(other)
