"""Chat templates: the text of transformers, the assistant's mask, the BOS, and what is refused."""

import copy
import json
from datetime import datetime
from pathlib import Path

import pytest
from tokenizers import AddedToken, processors

from tfcli.errors import UsageError, WorkError
from tfcli.tokenizers.chat import encode_chat, render_chat
from tfcli.tokenizers.chat_folder import choose_template, declared_bos, find_templates
from tfcli.tokenizers.chat_sandbox import Limits
from tfcli.tokenizers.load import load_tokenizer
from tfcli.tokenizers.run import train_bpe, write_tokenizer

TEMPLATES = {
    file.stem: file.read_text() for file in (Path(__file__).parent / "templates").glob("*.jinja")
}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": 'The weather <now> & "here" — naïve',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "unit": {"enum": ["C", "F"]},
                    "days": {"type": "array", "items": {"type": "integer"}},
                },
                "required": ["city"],
            },
            "return": {"type": "string"},
        },
    },
    {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}},
]
DOCUMENTS = [{"title": "Log", "text": "first line of the log\nsecond line, longer than forty"}]


def system(text):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def call(name, call_id, **arguments):
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def result(text, call_id):
    return {"role": "tool", "tool_call_id": call_id, "name": "weather", "content": text}


CONVERSATIONS = {
    "one turn": [user("Hello?")],
    "system": [
        system(" Be <brief>. "),
        user("  a question\n"),
        assistant(" an answer "),
        user("so"),
    ],
    "unicode": [user("naïve 😀 漢字 مرحبا\u0000\t"), assistant("ﬁ — e\u0301")],
    "empty content": [user(""), assistant(""), user(" ")],
    "null content": [user("x"), {**assistant(None), "tool_calls": [call("clock", "abcdefghi")]}],
    "one tool": [
        user("Is it warm?"),
        assistant(None, tool_calls=[call("weather", "abcdefghi", city="Zürich", days=[1, 2])]),
        result('{"t": 21}', "abcdefghi"),
        assistant("Yes."),
        user("And there?"),
    ],
    "two tools": [
        system("Ask the tools."),
        user("Is it warm?"),
        assistant(
            "I look.", tool_calls=[call("weather", "a" * 9, city="B"), call("clock", "b" * 9)]
        ),
        result("21", "a" * 9),
        result("noon", "b" * 9),
    ],
    "parts": [user([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}])],
    "thinking": [
        user("q"),
        assistant("<think>\nwell\n</think>\n\nyes"),
        user("why"),
        assistant("so", reasoning_content="because"),
    ],
    "older name of reasoning": [user("q"), assistant("a", thinking="hm")],
    "not alternating": [user("a"), user("b"), system("late")],
    "unknown role": [{"role": "critic", "content": "no"}],
}
OPTIONS = {
    "plain": {},
    "prompt": {"add_generation_prompt": True},
    "tools": {"tools": TOOLS, "add_generation_prompt": True},
    "documents": {"documents": DOCUMENTS},
    "variables": {"variables": {"enable_thinking": False}, "add_generation_prompt": True},
}


def render(template, messages, **options):
    return render_chat(template, messages, special_tokens=SPECIAL, **options)


def of_transformers(template, messages, **options):
    from transformers.utils.chat_template_utils import render_jinja_template

    # What apply_chat_template does before it calls this.
    messages = [{k: v for k, v in one.items() if v is not None} for one in messages]
    options |= options.pop("variables", {})
    texts, _ = render_jinja_template([messages], chat_template=template, **SPECIAL, **options)
    return texts[0]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_text_is_that_of_transformers(template, conversation, options):
    source, messages, given = TEMPLATES[template], CONVERSATIONS[conversation], OPTIONS[options]
    given = {**given, "variables": {"date_string": "26 Jul 2024", **given.get("variables", {})}}
    before = copy.deepcopy(messages)
    try:
        expected = of_transformers(source, messages, **given)
    except Exception:  # noqa: BLE001 - the template refuses the conversation, or fails on it
        with pytest.raises(WorkError, match=r"the chat template (refuses|fails)"):
            render(source, messages, **given)
    else:
        assert render(source, messages, **given).text == expected
    assert messages == before


def test_few_of_these_conversations_are_refused():
    refused = set()
    for name, source in TEMPLATES.items():
        for conversation, messages in CONVERSATIONS.items():
            try:
                render(source, messages, variables={"date_string": "x"})
            except WorkError:
                refused.add((name, conversation))
    everywhere = {pair for pair in refused if pair[1] in ("one turn", "unicode", "empty content")}
    assert not everywhere
    assert len(refused) < len(TEMPLATES) * len(CONVERSATIONS) / 3


def test_the_date_is_given():
    now = datetime(2031, 2, 3)
    text = render(TEMPLATES["llama3"], [user("x")], now=now).text
    assert "Today Date: 03 Feb 2031" in text


def test_a_template_can_refuse():
    with pytest.raises(WorkError, match="refuses these messages: System role not") as caught:
        render(TEMPLATES["gemma"], [system("x")])
    assert caught.value.where == "chat template, line 1"


# The end of the text


@pytest.mark.parametrize("template", ["chatml", "llama3", "gemma", "qwen25", "phi3", "mistral"])
@pytest.mark.parametrize(
    "last", ["The answer is", "The answer is ", "\n", "", [{"type": "text", "text": "Part "}]]
)
def test_the_last_message_can_be_continued(template, last):
    source, messages = TEMPLATES[template], [user("q"), assistant(last)]
    options = {"continue_final_message": True, "variables": {"date_string": "x"}}
    try:
        expected = of_transformers(source, copy.deepcopy(messages), **options)
    except Exception:  # noqa: BLE001 - this template takes no parts
        with pytest.raises(WorkError):
            render(source, messages, **options)
    else:
        text = render(source, messages, **options).text
        assert text == expected
        assert "<|im_end|>\n<|im_end|>" not in text and not text.endswith("TFCLI")


def test_a_text_has_one_end():
    with pytest.raises(UsageError, match="not both"):
        render(
            TEMPLATES["chatml"],
            [user("x")],
            add_generation_prompt=True,
            continue_final_message=True,
        )


@pytest.mark.parametrize(
    ("template", "last"),
    [
        ("{% for m in messages[:-1] %}{{ m.content }}{% endfor %}", "never written"),
        ("{{ messages[-1].content | upper }}", "changed"),
        ("{{ messages[-1].content }}", [{"type": "image"}]),
        ("{{ messages[-1].content }}", None),
    ],
)
def test_what_is_not_written_cannot_be_continued(template, last):
    messages = [user("q"), assistant(last, tool_calls=[call("clock", "x")])]
    with pytest.raises(WorkError, match="continue"):
        render(template, messages, continue_final_message=True)


# The assistant's parts


def test_spans_are_what_the_assistant_wrote():
    messages = [user("q"), assistant("an answer"), user("so"), assistant("😀")]
    rendered = render(TEMPLATES["marked"], messages)
    parts = [rendered.text[start:end] for start, end in rendered.generation_spans]
    assert parts == ["an answer<|im_end|>", "😀<|im_end|>"]


def test_spans_end_with_a_text_that_is_cut():
    messages = [user("q"), assistant("an"), user("so"), assistant("open")]
    rendered = render(TEMPLATES["marked"], messages, continue_final_message=True)
    start, end = rendered.generation_spans[-1]
    assert rendered.text[start:end] == "open" and end == len(rendered.text)


@pytest.mark.parametrize(
    ("template", "spans"),
    [
        ("{% macro m() %}{% generation %}x{% endgeneration %}{% endmacro %}a{{ m() }}b{{ m() }}",
         ((1, 2), (3, 4))),
        ("{% set x %}{% generation %}x{% endgeneration %}{% endset %}a{{ x }}{{ x }}",
         ((1, 2), (2, 3))),
        ("{% generation %}{% endgeneration %}a{% generation %}b{% endgeneration %}",
         ((0, 0), (1, 2))),
        ("{% set x %}a{% generation %}x{% endgeneration %}{% endset %}{{ x | upper }}", ((1, 2),)),
    ],
)  # fmt: skip
def test_marked_parts_are_found_wherever_they_are_written(template, spans):
    assert render(template, [user("q")]).generation_spans == spans


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        "{% set x %}{% generation %} x {% endgeneration %}{% endset %}{{ x | trim }}",
        "{% set x %}{% generation %}x{% endgeneration %}{% endset %}{{ x | length }}",
        "{% set x %}{% generation %}x{% endgeneration %}{% endset %}{{ (x | list)[0] }}",
    ],
)
def test_without_a_known_place_there_are_no_spans(template):
    plain = template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    rendered = render(template, [user("q")])
    assert rendered.generation_spans is None
    assert rendered.text == render(plain, [user("q")]).text


def test_a_part_within_a_part_is_the_outer_one():
    template = "a{% generation %}b{% generation %}c{% endgeneration %}{% endgeneration %}d"
    rendered = render(template, [user("q")])
    assert (rendered.text, rendered.generation_spans) == ("abcd", ((1, 3),))


# Ids


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory) -> Path:
    """A tokenizer with ChatML's special tokens, whose BOS is `<s>` and which adds none."""
    path = tmp_path_factory.mktemp("chat")
    backend = train_bpe(["user asks: what? assistant says: that, and so on, 😀 or not"] * 3, 300)
    backend.add_special_tokens([AddedToken(t) for t in ("<s>", "<|im_start|>", "<|im_end|>")])
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    write_tokenizer(backend, path)
    config = json.loads((path / "tokenizer_config.json").read_text()) | {
        "bos_token": "<s>",
        "eos_token": "<|im_end|>",
        "chat_template": TEMPLATES["marked"],
    }
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def with_bos(tokenizer, folder):
    """The same tokenizer, which puts a BOS before every text."""
    bos = tokenizer.bos_id
    tokenizer.backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", bos)]
    )
    assert tokenizer.prefix == (bos,)
    return tokenizer


MESSAGES = [user("what?"), assistant("that, and so on"), user("or"), assistant("not, so")]


def test_ids_and_mask_are_those_of_transformers(chat_folder):
    from transformers import AutoTokenizer

    encoded = encode_chat(load_tokenizer(chat_folder), MESSAGES)
    theirs = AutoTokenizer.from_pretrained(chat_folder).apply_chat_template(
        MESSAGES, return_dict=True, return_assistant_tokens_mask=True
    )
    assert encoded.ids == theirs["input_ids"]
    assert encoded.assistant_mask == theirs["assistant_masks"]
    assert 0 < sum(encoded.assistant_mask) < len(encoded.ids)


def test_the_mask_has_every_id_of_a_character(chat_folder):
    tokenizer = load_tokenizer(chat_folder)
    encoded = encode_chat(tokenizer, [user("😀é"), assistant("é漢字")])  # several ids each
    marked = [one for one, of in zip(encoded.ids, encoded.assistant_mask, strict=True) if of]
    assert tokenizer.decode(marked, skip_special_tokens=False) == "é漢字<|im_end|>"


def test_a_template_without_marks_has_no_mask(chat_folder):
    tokenizer = load_tokenizer(chat_folder)
    encoded = encode_chat(tokenizer, MESSAGES, template=TEMPLATES["chatml"])
    assert encoded.assistant_mask is None


WRITES = "{{ bos_token }}{% generation %}{{ messages[0].content }}{% endgeneration %}"
TWICE = "{{ bos_token }}" + WRITES
SILENT = "{% generation %}{{ messages[0].content }}{% endgeneration %}"


@pytest.mark.parametrize(
    ("adds", "add_bos", "template", "expected"),
    [
        (True, None, WRITES, 1),  # declared by the tokenizer, and written: not two
        (True, None, SILENT, 1),  # declared and not written: not none
        (True, None, TWICE, 1),
        (False, True, WRITES, 1),  # declared by tokenizer_config.json
        (False, True, SILENT, 1),
        (False, None, WRITES, 1),  # the template alone wants it
        (False, False, WRITES, 1),
        (False, None, SILENT, 0),
        (True, False, SILENT, 0),  # tokenizer_config.json overrules the tokenizer
    ],
)
def test_the_declared_bos_is_there_once(chat_folder, adds, add_bos, template, expected):
    tokenizer = load_tokenizer(chat_folder)
    if adds:
        tokenizer = with_bos(tokenizer, chat_folder)
    encoded = encode_chat(tokenizer, [user("what?")], template=template, add_bos=add_bos)
    text = tokenizer.encode("what?", add_special_tokens=False)
    assert encoded.ids == [tokenizer.bos_id] * expected + text
    assert encoded.assistant_mask == [0] * expected + [1] * len(text)


def test_a_bos_that_nobody_names_is_an_error(chat_folder, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((chat_folder / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": true}')
    tokenizer = load_tokenizer(tmp_path)
    assert declared_bos(tmp_path) is True
    with pytest.raises(WorkError, match="a BOS token is declared"):
        encode_chat(tokenizer, MESSAGES, template=SILENT, add_bos=True)
    with pytest.raises(UsageError, match="no chat template"):
        encode_chat(tokenizer, MESSAGES)


# Where templates are


def write_config(folder, **config):
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_a_template_is_in_the_config_or_in_files(tmp_path):
    assert find_templates(tmp_path) == {}
    (tmp_path / "chat_template.json").write_text('{"chat_template": "of a processor"}')
    assert find_templates(tmp_path) == {"default": "of a processor"}
    write_config(tmp_path, chat_template="from config")
    assert find_templates(tmp_path) == {"default": "from config"}
    listed = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
    write_config(tmp_path, chat_template=listed)
    assert find_templates(tmp_path) == {"default": "d", "tool_use": "t"}
    more = tmp_path / "additional_chat_templates"
    more.mkdir()
    (more / "rag.jinja").write_text("r")
    assert find_templates(tmp_path) == {"default": "d", "tool_use": "t", "rag": "r"}
    (tmp_path / "chat_template.jinja").write_text("from file")  # replaces those of the config
    assert find_templates(tmp_path) == {"default": "from file", "rag": "r"}


def test_files_are_read_as_transformers_reads_them(chat_folder, tmp_path):
    from transformers import AutoTokenizer

    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((chat_folder / name).read_bytes())
    (tmp_path / "chat_template.jinja").write_text("default")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    ours = find_templates(tmp_path)
    assert ours == theirs.chat_template
    for tools in (None, TOOLS):
        assert choose_template(ours, tools=bool(tools)) == theirs.get_chat_template(tools=tools)


def test_a_template_is_chosen_by_name():
    templates = {"default": "d", "tool_use": "t", "rag": "r"}
    assert choose_template(templates) == "d"
    assert choose_template(templates, tools=True) == "t"
    assert choose_template(templates, "rag", tools=True) == "r"
    assert choose_template({"default": "d"}, tools=True) == "d"
    with pytest.raises(UsageError, match="did you mean 'rag'"):
        choose_template(templates, "rga")
    with pytest.raises(UsageError, match="no chat template 'default'"):
        choose_template({"rag": "r"})
    with pytest.raises(UsageError, match="has no chat template"):
        choose_template({})


@pytest.mark.parametrize("broken", [5, ["x"], [{"name": "a"}], [{"name": "a", "template": 1}]])
def test_a_broken_entry_names_its_file(tmp_path, broken):
    write_config(tmp_path, chat_template=broken)
    with pytest.raises(WorkError, match="neither text nor a list") as caught:
        find_templates(tmp_path)
    assert caught.value.where.endswith("tokenizer_config.json")


def test_a_template_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(WorkError, match="not readable as text"):
        find_templates(tmp_path)
    (tmp_path / "chat_template.jinja").write_bytes(b"x" * 2_000_000)
    with pytest.raises(WorkError, match="more than 1,000,000 bytes"):
        find_templates(tmp_path)


# Bad input


@pytest.mark.parametrize(
    ("messages", "where", "what"),
    [
        ([], "messages", "no message"),
        ("hi", "messages", "list of mappings"),
        ({"role": "user"}, "messages", "list of mappings"),
        ([user("a"), "b"], "messages[1]", "not a value of type str"),
        ([user("a"), {"content": "b"}], "messages[1]", "no role"),
        ([{"role": 3, "content": "b"}], "messages[0]", "no role"),
        ([user("a"), {"role": "user"}], "messages[1]", "neither content nor"),
        ([user("a"), user(None)], "messages[1]", "neither content nor"),
        ([user(7)], "messages[0].content", "of type int, not text"),
        (
            [user([{"image": object()}])],
            "messages[0].content[0].image",
            "of type object is not text",
        ),
        ([user([{1: "x"}])], "messages[0].content[0]", "the key 1"),
    ],
)
def test_a_bad_message_is_named(messages, where, what):
    with pytest.raises(WorkError) as caught:
        render("{{ messages }}", messages)
    assert caught.value.where == where and what in caught.value.what


@pytest.mark.parametrize("key", ["tools", "documents"])
def test_tools_and_documents_are_mappings(key):
    with pytest.raises(
        WorkError, match="expected a mapping, not a value of type builtin_function_or_method"
    ) as caught:
        render("x", [user("a")], **{key: [{}, len]})
    assert caught.value.where == f"{key}[1]"


def test_values_nested_without_end_are_refused():
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(WorkError, match="nested more than 90 deep"):
        render("x", [{**user("a"), "more": deep}])


@pytest.mark.parametrize(
    ("template", "what", "line"),
    [
        ("a\n{% for x in %}", "not valid: Expected an expression", 2),
        ("{% endfor %}", "not valid", 1),
        ("a\n\n{{ messages | unheard }}", "No filter named 'unheard'", 3),
        ("a\n{{ messages[0].nothing.more }}", "fails: 'dict object' has no attribute", 2),
        ("{{ 1 // 0 }}", "fails: integer division", 1),
        ("{{ messages[0].content + 1 }}", "fails: can only concatenate", 1),
    ],
)
def test_a_broken_template_names_its_line(template, what, line):
    with pytest.raises(WorkError) as caught:
        render(template, [user("a")])
    assert what in caught.value.what
    assert caught.value.where == f"chat template, line {line}"


def test_limits_can_be_raised():
    template = "{% for i in range(1000) %}{{ messages[0].content }}{% endfor %}"
    text = "x" * 20_000
    with pytest.raises(WorkError, match="writes more than 10,000,000 characters"):
        render(template, [user(text)])
    wide = Limits(characters=30_000_000)
    assert len(render(template, [user(text)], limits=wide).text) == 20_000_000


def test_a_long_conversation_is_no_attack():
    messages = [user("word " * 200), assistant("word " * 200)] * 1000
    for name in ("chatml", "llama3", "mistral", "gemma", "qwen25", "qwen3", "phi3"):
        assert len(render(TEMPLATES[name], messages, limits=Limits(seconds=60)).text) > 2_000_000
