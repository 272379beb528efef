"""Images in messages, of models that look at images."""

from __future__ import annotations

import base64
from pathlib import Path

import openai
import pytest

import tfcli
from tests.generation.test_media import llava, photos  # noqa: F401 - fixtures
from tests.serve.conftest import serving

TEMPLATE = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def looking(llava):  # noqa: F811
    (llava / "chat_template.jinja").write_text(TEMPLATE)
    with serving(f"eyes={llava}") as server:
        yield openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


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
        data = base64.b64encode(Path(photo).read_bytes()).decode()
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
