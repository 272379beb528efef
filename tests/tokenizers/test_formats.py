"""Every format gives the ids that transformers gives for the same files, whatever the text."""

from __future__ import annotations

import shutil

import pytest

from tests.tokenizers.folders import files_of, make, rank_file, unigram, wordpieces, write
from tests.tokenizers.texts import NASTY
from tfcli.errors import WorkError
from tfcli.tokenizers.load import load_tokenizer

FAMILIES = (
    "albert",
    "bart",
    "bert",
    "blenderbot",
    "camembert",
    "codegen",
    "cohere",
    "convbert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "gemma",
    "gpt2",
    "gpt_neox",
    "layoutlm",
    "llama",
    "llama-3",
    "m2m_100",
    "marian",
    "mbart",
    "mt5",
    "opt",
    "pegasus",
    "qwen2",
    "roberta",
    "t5",
    "xlm-roberta",
)
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def token(content, **flags):
    """A token as tokenizer_config.json lists it."""
    plain = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
    return {"content": content, **plain, "special": True, **flags}


def both(folder):
    from transformers import AutoTokenizer

    return load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)


def assert_equal(ours, theirs):
    different = [text for text in NASTY if ours.encode(text) != theirs(text)["input_ids"]]
    assert different == []
    bare = [
        text
        for text in NASTY
        if ours.encode(text, add_special_tokens=False)
        != theirs(text, add_special_tokens=False)["input_ids"]
    ]
    assert bare == []
    names = theirs.special_tokens_map
    expected = {
        f"{role}_token": theirs.convert_tokens_to_ids(names[f"{role}_token"])
        for role in ROLES
        if f"{role}_token" in names
    }
    assert dict(ours.special_ids) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_pairs_and_text_are_those_of_transformers(family, tmp_path):
    ours, theirs = both(make(tmp_path, family))
    assert_equal(ours, theirs)
    assert ours.encode_batch(NASTY) == [ours.encode(text) for text in NASTY]
    seconds = [text or "second" for text in (*NASTY[5:], *NASTY[:5])]  # they take "" for no text
    batch = ours.batch(NASTY, seconds)
    for place, (first, second) in enumerate(zip(NASTY, seconds, strict=True)):
        expected = theirs(first, second)
        assert batch.ids[place] == expected["input_ids"]
        if "token_type_ids" in expected and family != "mbart":
            assert batch.token_type_ids[place] == expected["token_type_ids"]
    for ids in batch.ids:
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_a_role_makes_an_added_token_special(tmp_path):
    _, config = VARIANTS["gpt2: a role makes an added token special"]
    ours, theirs = both(make(tmp_path, "gpt2", tokenizer_config=config))
    assert ours.encode("the cat")[0] == 450
    assert ours.encode("the cat", allow_special=False)[0] != 450
    assert ours.decode([450]) == theirs.decode([450], skip_special_tokens=True) == ""


FAST = [family for family in FAMILIES if family not in ("m2m_100", "marian")]


@pytest.mark.parametrize("family", FAST)
def test_offsets_and_text_without_special_tokens_are_those_of_transformers(family, tmp_path):
    """The slow tokenizers of transformers know neither."""
    ours, theirs = both(make(tmp_path, family))
    batch = ours.batch(NASTY, return_offsets=True)
    expected = theirs(list(NASTY), return_offsets_mapping=True)
    assert batch.offsets == expected["offset_mapping"]
    added = ours.backend.get_added_tokens_decoder().items()
    special = {index for index, one in added if one.special} - {theirs.unk_token_id}
    for text in NASTY:
        literal = ours.encode(text, add_special_tokens=False, allow_special=False)
        expected = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert not special & set(literal)
        assert literal == expected or special & set(expected)  # theirs finds them whole in a model
    assert ours.encode_batch(NASTY, allow_special=False) == [
        ours.encode(text, allow_special=False) for text in NASTY
    ]


def test_added_tokens_keep_their_ids_where_special_ones_are_text(tmp_path):
    """The piece of [CLS] is taken out of the model then; [MASK] comes after its last piece."""
    count = load_tokenizer(make(tmp_path, "deberta-v2")).special_ids["mask_token"]
    added = {str(count): token("[MASK]"), str(count + 1): token("[X]", special=False)}
    config = {"added_tokens_decoder": added}
    tokenizer = load_tokenizer(make(tmp_path, "deberta-v2", tokenizer_config=config))
    literal = tokenizer.encode("[CLS] [MASK] [X]", allow_special=False)
    assert count + 1 in literal and count not in literal
    assert literal.count(tokenizer.special_ids["cls_token"]) == 1  # the one before every text


VARIANTS = {
    "bert: cased, accents kept": (
        "bert",
        {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False},
    ),
    "bert: added words": (
        "bert",
        {
            "pad_token": "[MASK]",
            "added_tokens_decoder": {
                "400": token("hello", special=False, normalized=True),
                "401": token("<x>", lstrip=True),
            },
        },
    ),
    "gpt2: a space first, more special tokens": (
        "gpt2",
        {
            "add_prefix_space": True,
            "pad_token": "<|pad|>",
            "extra_special_tokens": ["<|im_start|>", "<|im_end|>"],
            "image_token": "<image>",
        },
    ),
    "gpt2: BOS and EOS": (
        "gpt2",
        {
            "tokenizer_class": "GPT2TokenizerFast",
            "add_bos_token": True,
            "add_eos_token": True,
            "added_tokens_decoder": {"450": token("  ", special=False, normalized=True)},
        },
    ),
    "gpt2: a role makes an added token special": (
        "gpt2",
        {
            "eos_token": "the",
            "added_tokens_decoder": {"450": token("the", special=False, normalized=True)},
        },
    ),
    "gpt2: special tokens are text": ("gpt2", {"split_special_tokens": True}),
    "qwen2: chat tokens": (
        "qwen2",
        {
            "added_tokens_decoder": {
                "449": token("<|endoftext|>"),
                "450": token("<|im_start|>"),
                "451": token("<|im_end|>"),
                "452": token("<think>", special=False),
            },
            "eos_token": "<|im_end|>",
            "bos_token": None,
        },
    ),
    "opt: its own BOS": (
        "opt",
        {
            "tokenizer_class": "GPT2Tokenizer",
            "add_bos_token": True,
            "bos_token": {"__type": "AddedToken", **token("</s>", normalized=True)},
            "eos_token": "</s>",
            "unk_token": "</s>",
            "pad_token": "<pad>",
        },
    ),
    "roberta: a mask that takes the space": (
        "roberta",
        {
            "add_prefix_space": True,
            "mask_token": {"__type": "AddedToken", **token("<mask>", lstrip=True)},
        },
    ),
    "llama: BOS, legacy": ("llama", {"legacy": True, "add_bos_token": True}),
    "llama: BOS and EOS": (
        "llama",
        {"legacy": False, "add_bos_token": True, "add_eos_token": True},
    ),
    "llama: no space first": ("llama", {"add_prefix_space": False}),
    "llama: added tokens": (
        "llama",
        {
            "add_bos_token": True,
            "pad_token": "<pad>",
            "added_tokens_decoder": {
                "0": token("<unk>"),
                "1": token("<s>"),
                "2": token("</s>"),
                "600": token("<pad>"),
                "601": token("[INST]", special=False),
            },
        },
    ),
    "gemma: BOS, turns are special": (
        "gemma",
        {
            "add_bos_token": True,
            "added_tokens_decoder": {"5": token("<start_of_turn>"), "6": token("<end_of_turn>")},
        },
    ),
    "llama-3: its tokens, with a hole before the last": (
        "llama-3",
        {
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "add_bos_token": True,
            "added_tokens_decoder": {
                "450": token("<|begin_of_text|>"),
                "451": token("<|start_header_id|>"),
                "452": token("<|end_header_id|>"),
                "459": token("<|eot_id|>"),
            },
        },
    ),
    "t5: no sentinels": ("t5", {"extra_ids": 0}),
    "t5: three sentinels": ("t5", {"extra_ids": 3}),
    "albert: capitals and accents": ("albert", {"do_lower_case": False, "keep_accents": True}),
    "deberta-v2: lower case, punctuation": (
        "deberta-v2",
        {"do_lower_case": True, "split_by_punct": True, "add_prefix_space": False},
    ),
    "xlm-roberta: no space first": ("xlm-roberta", {"add_prefix_space": False}),
    "mbart: French": ("mbart", {"src_lang": "fr_XX"}),
    "mbart50: Afrikaans": ("mbart", {"tokenizer_class": "MBart50Tokenizer", "src_lang": "af_ZA"}),
    "m2m_100: French": ("m2m_100", {"src_lang": "fr"}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_what_tokenizer_config_says_counts(name, tmp_path):
    family, config = VARIANTS[name]
    ours, theirs = both(make(tmp_path, family, tokenizer_config=config))
    assert_equal(ours, theirs)


def test_the_older_files_for_special_and_added_tokens(tmp_path):
    folder = make(
        tmp_path,
        "bert",
        added_tokens={"newword": 400, "[NEW]": 401},
        special_tokens_map={
            "mask_token": token("[MASK]", lstrip=True),
            "additional_special_tokens": ["[NEW]"],
        },
    )
    ours, theirs = both(folder)
    assert_equal(ours, theirs)
    assert ours.encode("a newword [NEW]") == theirs("a newword [NEW]")["input_ids"]
    newer = {"added_tokens_decoder": {"400": token("<only>")}, "pad_token": "<only>"}
    write(folder, {"tokenizer_config.json": newer})  # lists all; the older files do not count
    ours, theirs = both(folder)
    assert_equal(ours, theirs)
    assert ours.pad_id == 400
    assert ours.encode("a [NEW]") == theirs("a [NEW]")["input_ids"]
    assert ours.vocab_size == 401


@pytest.mark.parametrize("family", [*FAST, "m2m_100", "marian"])
def test_a_folder_that_transformers_wrote_gives_the_same_ids(family, tmp_path):
    from transformers import AutoTokenizer

    made = make(tmp_path / "made", family)
    saved = tmp_path / "saved"
    AutoTokenizer.from_pretrained(made).save_pretrained(saved)
    shutil.copy(made / "config.json", saved)
    assert_equal(*both(saved))


def test_what_tokenizer_config_says_counts_beside_a_tokenizer_json_too(tmp_path):
    from transformers import AutoTokenizer

    for family, config in (
        ("bert", {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
        ("gpt2", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}),
    ):
        saved = tmp_path / family
        AutoTokenizer.from_pretrained(make(tmp_path / f"{family}-made", family)).save_pretrained(
            saved
        )
        write(saved, {"tokenizer_config.json": config})
        ours, theirs = both(saved)
        assert [ours.encode(text) for text in NASTY] == [
            theirs(text)["input_ids"] for text in NASTY
        ]


def test_the_content_decides_not_the_name(tmp_path):
    as_ranks = write(tmp_path / "ranks", {"tokenizer.model": rank_file()})
    other_name = write(tmp_path / "named", {"qwen.tiktoken": rank_file()})
    assert load_tokenizer(as_ranks).fingerprint == load_tokenizer(other_name).fingerprint
    model = write(tmp_path / "model", {"cog-pretrain.model": unigram()})
    assert (
        load_tokenizer(model).vocab_size == load_tokenizer(model / "cog-pretrain.model").vocab_size
    )


def test_a_tokenizer_json_counts_before_all_others(folder, tmp_path):
    target = tmp_path / "both"
    shutil.copytree(folder, target)
    write(target, {"vocab.txt": wordpieces(), "tokenizer.model": unigram()})
    assert load_tokenizer(target).fingerprint == load_tokenizer(folder).fingerprint


def test_one_file_is_enough(tmp_path):
    for family in ("bert", "t5", "llama-3"):
        made = make(tmp_path / family, family)
        (name,) = files_of(family)
        assert load_tokenizer(made / name).fingerprint == load_tokenizer(made).fingerprint


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, r"there is no tokenizer\.json, nor other files"),
        ({"vocab.json": {"a": 0}}, r"there is no tokenizer\.json, nor other files"),
        (
            {"vocab.txt": wordpieces, "config.json": {"tokenizer_class": "PhobertTokenizer"}},
            "PhobertTokenizer with a vocab.txt is not covered",
        ),
        (
            {"spiece.model": unigram, "config.json": {"tokenizer_class": "XLNetTokenizer"}},
            "XLNetTokenizer with a SentencePiece model is not covered",
        ),
        (
            {"vocab.json": {"a": 0}, "merges.txt": "", "config.json": {"tokenizer_class": "CTRL"}},
            "CTRL with a vocab.json is not covered",
        ),
        ({"vocab.json": {"a": 0}, "merges.txt": ""}, "not a byte-level vocabulary"),
    ],
)
def test_what_is_not_covered_is_said(files, what, tmp_path):
    made = {name: content() if callable(content) else content for name, content in files.items()}
    with pytest.raises(WorkError, match=what) as error:
        load_tokenizer(write(tmp_path, made))
    assert error.value.fix


def test_plain_byte_level_files_need_no_class(tmp_path):
    files = files_of("gpt2")
    plain = load_tokenizer(write(tmp_path / "plain", files))
    named = load_tokenizer(make(tmp_path / "named", "gpt2"))
    assert plain.fingerprint == named.fingerprint
