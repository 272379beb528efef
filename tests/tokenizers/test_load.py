"""A tokenizer folder gives the ids that transformers gives, and says what is wrong with it."""

import json
import shutil

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, processors

from tfcli.errors import WorkError
from tfcli.tokenizers.load import Tokenizer, load_tokenizer

TEXTS = ["the cat", "", "  two  spaces\n\ttab", "naïve 𝄞 日本語", "a<|endoftext|>b"]


def test_ids_equal_those_of_transformers(folder):
    from transformers import AutoTokenizer

    ours, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"]
        assert ours.decode(ours.encode(text)) == theirs.decode(
            theirs(text)["input_ids"], skip_special_tokens=True
        )
    assert ours.encode_batch(TEXTS) == [ours.encode(text) for text in TEXTS]
    assert (ours.bos_id, ours.eos_id, ours.pad_id) == (
        theirs.bos_token_id,
        theirs.eos_token_id,
        theirs.pad_token_id,
    )
    assert ours.vocab_size == len(theirs)


def test_it_still_does_beside_the_config_of_a_llama(folder, tmp_path):
    """transformers has classes of its own for some model types; ours must not be rebuilt by one."""
    from transformers import AutoTokenizer

    model = tmp_path / "model"
    shutil.copytree(folder, model)
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 300}))
    theirs = AutoTokenizer.from_pretrained(model)
    assert [theirs(t)["input_ids"] for t in TEXTS] == load_tokenizer(folder).encode_batch(TEXTS)


def test_every_text_comes_back_and_begins_with_one_bos(folder):
    tokenizer = load_tokenizer(folder)
    for text in TEXTS[:-1]:
        ids = tokenizer.encode(text)
        assert ids.count(tokenizer.bos_id) == 1 and ids[0] == tokenizer.bos_id
        assert tokenizer.decode(ids) == text
        assert tokenizer.encode(text, add_special_tokens=False) == ids[1:]
    assert (tokenizer.prefix, tokenizer.suffix) == ((0,), ())


def test_truncation_and_padding_of_the_file_are_off(folder, tmp_path):
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.enable_truncation(4)
    backend.enable_padding(length=9)
    backend.save(str(tmp_path / "tokenizer.json"))
    found, plain = load_tokenizer(tmp_path), load_tokenizer(folder)
    assert found.encode(TEXTS[3]) == plain.encode(TEXTS[3])
    assert found.fingerprint == plain.fingerprint


def copy_with(folder, tmp_path, name, value):
    target = tmp_path / "copy"
    shutil.copytree(folder, target)
    (target / name).write_text(value if isinstance(value, str) else json.dumps(value))
    return target


def test_special_tokens_may_be_objects_or_stand_in_the_map(folder, tmp_path):
    target = copy_with(folder, tmp_path, "tokenizer_config.json", {"bos_token": {"content": "!"}})
    (target / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    tokenizer = load_tokenizer(target)
    assert tokenizer.bos_id == tokenizer.backend.token_to_id("!")
    assert (tokenizer.eos_id, tokenizer.pad_id) == (0, None)


def test_a_chat_template_is_found_in_its_file_or_in_the_config(folder, tmp_path):
    config = {"chat_template": [{"name": "default", "template": "T1"}]}
    target = copy_with(folder, tmp_path, "tokenizer_config.json", config)
    assert load_tokenizer(target).chat_template == "T1"
    (target / "chat_template.jinja").write_text("T2")
    assert load_tokenizer(target).chat_template == "T2"
    assert load_tokenizer(folder).chat_template is None


@pytest.mark.parametrize("text", ["", "{", '{"model": 3}', '{"model": {"type": "BPE"}}', "\x00"])
def test_a_broken_tokenizer_is_named(folder, tmp_path, text):
    with pytest.raises(WorkError, match=r"not a readable tokenizer|not valid JSON") as error:
        load_tokenizer(copy_with(folder, tmp_path, "tokenizer.json", text))
    assert error.value.where.endswith("tokenizer.json")


def test_a_missing_tokenizer_and_an_unknown_special_token_are_named(folder, tmp_path):
    with pytest.raises(WorkError, match=r"there is no tokenizer\.json"):
        load_tokenizer(tmp_path)
    with pytest.raises(WorkError, match="eos_token is '<nope>'"):
        load_tokenizer(
            copy_with(folder, tmp_path, "tokenizer_config.json", {"eos_token": "<nope>"})
        )


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "tokenizer.json").symlink_to(folder / "tokenizer.json")
    with pytest.raises(WorkError, match="outside its folder"):
        load_tokenizer(tmp_path)


def test_a_file_is_as_good_as_a_folder(folder):
    by_file, by_folder = load_tokenizer(folder / "tokenizer.json"), load_tokenizer(folder)
    assert by_file.fingerprint == by_folder.fingerprint
    assert by_file.eos_id == by_folder.eos_id == 0


@pytest.mark.parametrize(
    ("post", "around"),
    [
        (None, ((), ())),
        (processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)]), ((0,), ())),
        (
            processors.TemplateProcessing(
                "<s> <t> $A </s>", special_tokens=[("<s>", 0), ("<t>", 4), ("</s>", 1)]
            ),
            ((0, 4), (1,)),
        ),
        (processors.BertProcessing(("</s>", 1), ("<s>", 0)), ((0,), (1,))),
        (
            processors.Sequence(
                [
                    processors.ByteLevel(),
                    processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)]),
                ]
            ),
            ((0,), ()),
        ),
    ],
    ids=["nothing", "bos", "two before, one after", "bert", "several processors"],
)
@pytest.mark.parametrize("letters", ["ACGT", "a", "日"])
def test_what_surrounds_a_text_is_read_whatever_letters_there_are(post, around, letters):
    words = ["<s>", "</s>", *letters]
    backend = Backend(models.BPE({word: index for index, word in enumerate(words)}, []))
    if post is not None:
        backend.post_processor = post
    tokenizer = Tokenizer(backend)
    assert (tokenizer.prefix, tokenizer.suffix) == around


def test_a_template_that_has_the_text_twice_is_refused():
    backend = Backend(models.BPE({"a": 0}, []))
    backend.post_processor = processors.TemplateProcessing("$A $A", special_tokens=[])
    with pytest.raises(WorkError, match="change the text"):
        Tokenizer(backend).prefix  # noqa: B018
