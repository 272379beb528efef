"""OpenAI's interface, driven by OpenAI's own client."""

from __future__ import annotations

import json

import httpx
import openai
import pytest

import tfcli

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture(scope="module")
def local(chat_llama):
    return tfcli.load(chat_llama)


def test_a_completion_is_what_generate_makes(client, local):
    found = client.completions.create(model="tiny", prompt="The sky", max_tokens=12)
    assert found.choices[0].text == local.generate("The sky", max_new_tokens=12)
    assert found.choices[0].finish_reason in ("length", "stop")
    assert found.usage.completion_tokens <= 12
    assert found.usage.prompt_tokens == len(local.tokenizer.encode("The sky"))


def test_a_chat_is_what_generate_makes(client, local):
    found = client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=12)
    expected = local.generate(QUESTION[0]["content"], chat=True, max_new_tokens=12)
    assert found.choices[0].message.content == expected
    assert found.choices[0].message.role == "assistant"


@pytest.mark.parametrize("kind", ["chat", "text"])
def test_a_stream_adds_up_to_the_whole(client, kind):
    options = {"model": "tiny", "max_tokens": 20, "seed": 3, "temperature": 1.5, "n": 2}
    if kind == "chat":
        options["messages"] = QUESTION
        create, text = client.chat.completions.create, lambda one: one.delta.content
        whole = [each.message.content for each in create(**options).choices]
    else:
        options["prompt"] = "The sky"
        create, text = client.completions.create, lambda one: one.text
        whole = [each.text for each in create(**options).choices]
    texts, usage, reasons = ["", ""], None, [None, None]
    for chunk in create(**options, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += text(choice) or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == whole
    assert whole[0] != whole[1]
    assert None not in reasons
    assert usage.completion_tokens > 20


def test_probabilities_come_with_the_tokens(client):
    found = client.chat.completions.create(
        model="tiny", messages=QUESTION, max_tokens=5, temperature=0, logprobs=True, top_logprobs=2
    )
    content = found.choices[0].logprobs.content
    assert len(content) == found.usage.completion_tokens
    assert all(each.top_logprobs[0].logprob == each.logprob for each in content)
    text = client.completions.create(model="tiny", prompt="a", max_tokens=5, logprobs=2)
    assert len(text.choices[0].logprobs.token_logprobs) == text.usage.completion_tokens
    parts = client.completions.create(
        model="tiny", prompt="a", max_tokens=5, logprobs=2, stream=True
    )
    streamed = [one for part in parts for one in (part.choices[0].logprobs or Empty).tokens]
    assert streamed == text.choices[0].logprobs.tokens


class Empty:
    tokens = ()


def test_several_prompts_stops_and_biases(client, local):
    plain = client.completions.create(model="tiny", prompt=["The", "A sky"], max_tokens=9)
    assert [each.text for each in plain.choices] == [
        local.generate("The", max_new_tokens=9),
        local.generate("A sky", max_new_tokens=9),
    ]
    text = plain.choices[1].text
    stopped = client.completions.create(model="tiny", prompt="A sky", max_tokens=9, stop=text[3])
    assert stopped.choices[0].text == text[: text.index(text[3])]
    assert stopped.choices[0].finish_reason == "stop"
    ids = local.tokenizer.encode("A sky")
    assert client.completions.create(model="tiny", prompt=ids, max_tokens=9).choices[0].text == text
    banned = client.completions.create(
        model="tiny", prompt="The", max_tokens=9, logit_bias={str(n): -100 for n in range(1, 300)}
    )
    assert all(ord(one) > 127 or len(one) for one in banned.choices[0].text)
    echoed = client.completions.create(model="tiny", prompt="A sky", max_tokens=1, echo=True)
    assert echoed.choices[0].text.startswith("A sky")


def test_models_tokens_and_health(client, server, local):
    assert [each.id for each in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    found = httpx.post(f"{server.url}/tokenize", json={"model": "tiny", "prompt": "The sky"}).json()
    assert found["tokens"] == local.tokenizer.encode("The sky")
    assert found["count"] == len(found["tokens"])
    back = httpx.post(
        f"{server.url}/detokenize", json={"model": "tiny", "tokens": found["tokens"][1:]}
    )
    assert back.json() == {"prompt": "The sky"}
    chat = httpx.post(f"{server.url}/tokenize", json={"model": "tiny", "messages": QUESTION})
    assert chat.json()["count"] > 10
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}


def test_metrics_count(client, server):
    before = counted(server)
    client.completions.create(model="tiny", prompt="The sky", max_tokens=3, temperature=0)
    after = counted(server)
    kind = 'tfcli_tokens_total{kind="answer",model="tiny"}'
    assert 1 <= after[kind] - before.get(kind, 0) <= 3
    assert after['tfcli_running{model="tiny"}'] == 0


def counted(server):
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


REFUSED = {
    "no JSON": (b"{", 400),
    "nothing": (b"", 400),
    "a list": (b"[]", 400),
    "endless nesting": (b"[" * 100_000, 400),
    "no UTF-8": (b'{"model": "\xff"}', 400),
    "half a character": (b'{"model": "tiny", "prompt": "\\ud800"}', 400),
    "no such key": (b'{"model": "tiny", "prompt": "a", "best_of": 2}', 400),
    "a temperature below 0": (b'{"model": "tiny", "prompt": "a", "temperature": -1}', 400),
    "NaN": (b'{"model": "tiny", "prompt": "a", "temperature": NaN}', 400),
    "an id that is none": (b'{"model": "tiny", "prompt": [9999]}', 422),
    "no prompt": (b'{"model": "tiny", "prompt": []}', 400),
    "too long a prompt": (b'{"model": "tiny", "prompt": [' + b"5," * 1100 + b"5]}", 400),
    "no such model": (b'{"model": "other", "prompt": "a"}', 404),
    "too large": (b'{"model": "tiny", "prompt": "' + b"a" * (1 << 20) + b'"}', 413),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_request_is_refused_in_the_interfaces_form(server, name):
    body, status = REFUSED[name]
    found = httpx.post(f"{server.url}/v1/completions", content=body)
    assert found.status_code == status, found.text
    error = found.json()["error"]
    assert error["message"]
    assert error["type"]


def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.NotFoundError, match="tiny"):
        client.chat.completions.create(model="tin", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="role"):
        client.chat.completions.create(model="tiny", messages=[{"role": "nobody", "content": ""}])
    with pytest.raises(openai.NotFoundError):
        client.get("/nothing", cast_to=object)


def test_an_answer_fits_the_schema_that_was_asked_for(client):
    schema = {
        "type": "object",
        "properties": {"sky": {"enum": ["blue", "grey"]}, "sure": {"type": "boolean"}},
        "required": ["sky", "sure"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "sky", "schema": schema, "strict": True}}
    found = client.chat.completions.create(
        model="tiny", messages=QUESTION, response_format=form, temperature=1, seed=1
    )
    said = json.loads(found.choices[0].message.content)
    assert said["sky"] in ("blue", "grey")
    assert found.choices[0].finish_reason == "stop"
    form["json_schema"]["schema"] = {"type": "object", "propertys": {}}
    with pytest.raises(openai.BadRequestError, match="propertys"):
        client.chat.completions.create(model="tiny", messages=QUESTION, response_format=form)
