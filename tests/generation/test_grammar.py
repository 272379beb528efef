"""Texts that follow a pattern, a schema or a grammar, whatever a random model would say."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest

from tests.models.tiny import tiny_model
from tfcli.checkpoints.folder import save_model
from tfcli.commands.app import run
from tfcli.errors import UsageError
from tfcli.generation.grammar import schema_grammar
from tfcli.generation.json_schema import KNOWN, require_known
from tfcli.generation.sampling import Draw
from tfcli.generation.settings import TextSettings
from tfcli.generation.tasks import decoding
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.token_texts import bytes_of_tokens

SCHEMAS = [
    {"type": "integer", "minimum": 3, "maximum": 400},
    {"type": "boolean"},
    {"enum": ["red", "green", 7, None]},
    {"const": {"a": [1, 2]}},
    {"type": "string", "maxLength": 6},
    {"type": "string", "pattern": "^[a-c]{2,4}$"},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "null"}, {"const": "x"}], "items": False,
     "minItems": 2},
    {"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"enum": [1, 2]}},
     "required": ["a", "b"], "additionalProperties": False},
    {"anyOf": [{"type": "boolean"}, {"enum": ["no"]}]},
    {"$defs": {"t": {"type": "boolean"}}, "type": "array", "items": {"$ref": "#/$defs/t"},
     "minItems": 1, "maxItems": 2},
    {"type": "string", "format": "date"},
    {"type": ["null", "boolean"]},
    {"allOf": [{"type": "integer"}, {"minimum": 10}, {"maximum": 99}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_tokenizer):
    path = tmp_path_factory.mktemp("m") / "m"
    save_model(tiny_model("llama", vocab_size=320, max_position_embeddings=256), path,
               tokenizer_from=tiny_tokenizer)  # fmt: skip
    (path / "generation_config.json").write_text('{"eos_token_id": 0}')
    return path


@pytest.fixture
def generate(capsys, folder):
    def call(*flags, code=0):
        capsys.readouterr()
        command = ["generate", str(folder), "A class", "--max-new-tokens", "90", "--json"]
        assert run([*command, *map(str, flags)]) == code
        return json.loads(capsys.readouterr().out)

    return call


def test_texts_fit_schemas_of_many_shapes_in_one_batch(folder):
    tokenizer = load_tokenizer(folder)
    model = tiny_model("llama", vocab_size=320, max_position_embeddings=256)
    for number, schema in enumerate(SCHEMAS):
        grammar = schema_grammar(json.dumps(schema), tokenizer, [0])
        settings = TextSettings(stop=frozenset({0}), draw=Draw(1.5), grammar=grammar)
        prompts = [[5, 6, 7], [8], [9, 10]]
        texts = decoding(
            model, prompts, max_new_tokens=[150] * 3, settings=settings, seeds=[number, 1, 2]
        ).texts()
        for ids in texts:
            assert ids[-1] == 0, "the text ends with its grammar"
            jsonschema.validate(json.loads(tokenizer.decode(ids)), schema)


def test_a_regular_expression_is_matched_as_a_whole(generate):
    made = generate("--regex", "(yes|no), [0-9]{3}!")
    assert re.fullmatch("(yes|no), [0-9]{3}!", made["text"])
    assert made["finish_reason"] == "stop"


def test_a_grammar_is_followed(generate, tmp_path):
    (tmp_path / "g.lark").write_text('start: "(" start ")" | "x"')
    text = generate("--grammar", tmp_path / "g.lark", "--temperature", 2, "--seed", 5)["text"]
    while text != "x":
        assert text[0] == "(" and text[-1] == ")"
        text = text[1:-1]


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ({"type": "string", "minLenght": 3}, "the word 'minLenght', which JSON Schema does not"),
        ({"properties": {"a": {"kind": 1}}}, "#/properties/a has the word 'kind'"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum (5) is greater"),
        ({"enum": []}, "anyOf is empty"),
        ({"items": 3}, "#/items is no schema but int"),
        ({"$ref": "#/nowhere"}, "does not exist"),
        ({"type": "string", "contentEncoding": "base64"}, "contentEncoding cannot be followed"),
    ],
    ids=str,
)
def test_schemas_that_cannot_be_followed_are_refused(generate, tmp_path, schema, what):
    (tmp_path / "s.json").write_text(json.dumps(schema))
    assert what in generate("--json-schema", tmp_path / "s.json", code=2)["error"]["what"]


@pytest.mark.parametrize(
    "flags",
    [
        ("--num-beams", 3),
        ("--num-beams", 3, "--do-sample"),
        ("--num-beams", 4, "--num-beam-groups", 2, "--diversity-penalty", 1.0),
        ("--penalty-alpha", 0.6, "--top-k", 4),
        ("--prompt-lookup-num-tokens", 3),
        ("--guidance-scale", 1.5),
    ],
    ids=str,
)
def test_every_strategy_follows_a_form(generate, flags):
    pattern = "(a|ab|abcdefghijkl)"
    assert re.fullmatch(pattern, generate("--regex", pattern, *flags)["text"])


def test_what_excludes_unlikely_tokens_goes_with_no_form(generate):
    error = generate("--regex", "a", "--dola-layers", "high", code=2)["error"]
    assert "dola_layers and regex do not go together" in error["what"]


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--regex", "a(b"), "unclosed group"),
        (("--regex", "(?!a)b"), "look-around"),
        (("--regex", r"a[^\s\S]b"), "no text fits it"),
    ],
)
def test_patterns_that_cannot_be_followed_are_refused(generate, flags, what):
    assert what in generate(*flags, code=2)["error"]["what"]


def test_two_shapes_of_one_text_are_refused(generate, tmp_path):
    (tmp_path / "s.json").write_text("{}")
    flags = ("--regex", "a", "--json-schema", tmp_path / "s.json")
    assert "do not go together" in generate(*flags, code=2)["error"]["what"]


def test_every_word_of_json_schema_is_known():
    drafts = (jsonschema.Draft7Validator, jsonschema.Draft201909Validator)
    for draft in (*drafts, jsonschema.Draft202012Validator):
        assert set(draft.VALIDATORS) <= KNOWN


def test_unknown_words_are_found_wherever_schemas_stand():
    require_known({"$defs": {"meta": {"properties": {"typ": True}}}, "enum": [{"typ": 1}]}, "s")
    for schema in ({"anyOf": [{"typ": 1}]}, {"items": [{"typ": 1}]}, {"not": {"typ": 1}}):
        with pytest.raises(UsageError, match="'typ'"):
            require_known(schema, "s")


def test_tokens_are_the_bytes_of_texts(folder):
    tokenizer = load_tokenizer(folder)
    tokens, special = bytes_of_tokens(tokenizer)
    text = "Zoë says:\n\t世界 {}"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert b"".join(tokens[each] for each in ids) == text.encode()
    assert 0 in special
