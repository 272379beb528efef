"""Texts that follow a pattern, a schema or a grammar, whatever a random model would say."""

from __future__ import annotations

import json
import random
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


def some_schema(chance: random.Random, depth: int = 0) -> dict:
    """A schema of a shape of its own, whose texts are short."""
    kinds = ["integer", "number", "string", "pattern", "format", "enum", "const", "boolean"]
    inner: list[dict] = [{"type": "boolean"}]
    if depth < 3:
        inner = [some_schema(chance, depth + 1) for _ in range(chance.randint(1, 3))]
        kinds += 2 * ["array", "tuple", "object", "object", "anyOf", "allOf", "nullable"]
    kind = chance.choice(kinds if depth else kinds[8:])
    names = [chance.choice(["name", "a b", 'a"b', "größe", "x/y", ""]) + str(n) for n in range(3)]
    some = dict(zip(names, inner, strict=False))
    low = chance.randint(-300, 300)
    return {
        "integer": {"type": "integer", "minimum": low, "exclusiveMaximum": low + 40},
        "number": {"type": "number", "exclusiveMinimum": low, "maximum": low + 1.5},
        "string": {"type": "string", "minLength": 1, "maxLength": chance.randint(1, 6)},
        "pattern": {"type": "string", "pattern": chance.choice(["^[a-f0-9]{4}$", "^(ja|nein)$"])},
        "format": {"type": "string", "format": chance.choice(["date", "time", "uuid", "ipv4"])},
        "enum": {"enum": chance.sample([1, "one", None, True, [1], {"a": "b"}], 3)},
        "const": {"const": chance.choice([0, "", [[]], {"deep": {"er": None}}])},
        "boolean": {"type": "boolean"},
        "array": {"type": "array", "items": inner[0], "minItems": 1, "maxItems": 2},
        "tuple": {"type": "array", "prefixItems": inner, "items": False, "minItems": len(inner)},
        "object": {
            "type": "object",
            "properties": some,
            "required": chance.sample(list(some), chance.randint(0, len(some))),
            "additionalProperties": False,
        },
        "anyOf": {"anyOf": inner},
        "allOf": {"allOf": [inner[0], {"description": "the same"}]},
        "nullable": {"anyOf": [inner[0], {"type": "null"}]},
    }[kind]


@pytest.mark.nightly
def test_every_text_fits_its_schema_for_200_schemas(folder):
    tokenizer, seen = load_tokenizer(folder), set()
    model = tiny_model("llama", vocab_size=320, max_position_embeddings=4096)
    for number in range(400):
        schema = some_schema(random.Random(number))
        if len(seen) == 200:
            break
        if json.dumps(schema) in seen:
            continue
        seen.add(json.dumps(schema))
        settings = TextSettings(
            stop=frozenset({0}),
            draw=Draw(1.5),
            grammar=schema_grammar(json.dumps(schema), tokenizer, [0]),
        )
        (ids,) = decoding(
            model, [[5, 6]], max_new_tokens=[4000], settings=settings, seeds=[number]
        ).texts()
        assert ids[-1] == 0
        validator = jsonschema.Draft202012Validator
        validator(schema, format_checker=validator.FORMAT_CHECKER).validate(
            json.loads(tokenizer.decode(ids))
        )
    assert len(seen) == 200


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
