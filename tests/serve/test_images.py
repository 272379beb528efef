"""Images in messages, of models that look at images."""

from __future__ import annotations

import base64
from pathlib import Path

import anthropic
import openai
import pytest

import tfcli
from tests.generation.test_media import llava, photos  # noqa: F401 - fixtures
from tests.serve.conftest import serving

TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool.function.name }} <tool_call>{% endfor %}"
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def eyes(llava):  # noqa: F811
    (llava / "chat_template.jinja").write_text(TEMPLATE)
    with serving(f"eyes={llava}") as server:
        yield server


@pytest.fixture(scope="module")
def looking(eyes):
    return openai.OpenAI(base_url=f"{eyes.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def claude(eyes):
    return anthropic.Anthropic(base_url=eyes.url, api_key="none", max_retries=0)


def encoded(photo):
    return base64.b64encode(Path(photo).read_bytes()).decode()


def asked(client, url, **more):
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "What is it?"},
    ]
    turn = [{"role": "user", "content": content}]
    return client.chat.completions.create(model="eyes", messages=turn, temperature=0, **more)


def test_an_answer_is_about_the_image(looking, llava, photos):  # noqa: F811
    local = tfcli.load(llava)
    said = []
    for photo in photos:
        data = encoded(photo)
        found = asked(looking, f"data:image/png;base64,{data}", max_tokens=6)
        said.append(found.choices[0].message.content)
        expected = local.generate("What is it?", chat=True, image=[photo], max_new_tokens=6)
        assert said[-1] == expected


@pytest.mark.parametrize("url", ["/etc/hostname", "http://127.0.0.1/", "file:///etc/hostname"])
def test_an_address_is_not_read(looking, url):
    with pytest.raises(openai.BadRequestError, match="fetches nothing"):
        asked(looking, url)


@pytest.mark.parametrize("data", ["", "AAAA", "no base64"])
def test_what_is_no_image_is_refused(looking, data):
    with pytest.raises(openai.APIStatusError) as error:
        asked(looking, f"data:image/png;base64,{data}")
    assert error.value.status_code in (400, 422)


TOOL = {"type": "function", "function": {"name": "zoom"}}


def test_tools_are_told_of_beside_an_image(looking, photos):  # noqa: F811
    url = f"data:image/png;base64,{encoded(photos[0])}"
    plain = asked(looking, url, max_tokens=1)
    found = asked(looking, url, max_tokens=1, tools=[TOOL])
    assert found.usage.prompt_tokens > plain.usage.prompt_tokens
    variables = {"chat_template_kwargs": {"tokenize": False}}
    with pytest.raises(openai.BadRequestError, match="no variable"):
        asked(looking, url, extra_body=variables)


def test_images_are_the_same_in_every_interface(looking, claude, photos):  # noqa: F811
    data = encoded(photos[0])
    url = f"data:image/png;base64,{data}"
    expected = asked(looking, url, max_tokens=6).choices[0].message.content
    shown = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    asking = {"type": "text", "text": "What is it?"}
    options = {"model": "eyes", "max_tokens": 6}
    turns = [{"role": "user", "content": [shown, asking]}]
    assert claude.messages.create(messages=turns, **options).content[0].text == expected
    parts = [
        {"type": "input_image", "image_url": url},
        {"type": "input_text", "text": "What is it?"},
    ]
    found = looking.responses.create(
        model="eyes", input=[{"role": "user", "content": parts}], max_output_tokens=6, temperature=0
    )
    assert found.output_text == expected
    far = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/a.png"}}
    with pytest.raises(anthropic.BadRequestError, match="fetches nothing"):
        claude.messages.create(messages=[{"role": "user", "content": [far]}], **options)


def test_a_result_of_a_tool_has_an_image(claude, photos):  # noqa: F811
    data = encoded(photos[0])
    shown = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    use = {"type": "tool_use", "id": "1", "name": "zoom", "input": {}}
    counts = []
    for content in ([], [shown]):
        result = {"type": "tool_result", "tool_use_id": "1", "content": content}
        turns = [
            {"role": "user", "content": "Look."},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ]
        counted = claude.messages.count_tokens(model="eyes", messages=turns)
        counts.append(counted.input_tokens)
    assert counts[1] > counts[0]
