"""Media in conversations, in every spelling that there is."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tfcli.data.formats.registry import find_format, read_sample
from tfcli.data.media import Medium
from tfcli.data.rows import Row
from tfcli.errors import WorkError

BYTES = b"a picture"
TEXT = {"type": "text", "text": "What is it?"}
ANSWER = {"role": "assistant", "content": "A cat."}
IMAGE = {"type": "image"}
A, B = (Medium("image", f"/data/{name}.png") for name in "ab")


def read(values):
    row = Row(values, "/data/d.jsonl:7", Path("/data"))
    return read_sample(row, find_format(row, {}), {})


def asked(part):
    return {"messages": [{"role": "user", "content": [part, TEXT]}, ANSWER]}


@pytest.mark.parametrize(
    ("part", "medium"),
    [
        ({"type": "image", "image": "a.png"}, A),
        ({"type": "image", "path": "/data/a.png"}, A),
        ({"type": "image", "url": "file:///data/a.png"}, A),
        ({"type": "image", "image": {"bytes": BYTES, "path": "a.png"}}, Medium("image", BYTES)),
        ({"type": "image", "image": {"bytes": None, "path": "a.png"}}, A),
        ({"type": "image", "bytes": BYTES, "path": "a.png"}, Medium("image", BYTES)),
        ({"type": "image", "base64": base64.b64encode(BYTES).decode()}, Medium("image", BYTES)),
        ({"type": "image_url", "image_url": {"url": "a.png"}}, A),
        ({"type": "image_url", "image_url": "data:,A"}, Medium("image", "data:,A")),
        ({"type": "left", "left": "a.png"}, Medium("left", "/data/a.png")),
        ({"type": "audio_url", "audio_url": {"url": "a.wav"}}, Medium("audio", "/data/a.wav")),
        (
            {"type": "input_audio", "input_audio": {"data": base64.b64encode(BYTES).decode()}},
            Medium("audio", BYTES),
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_part_has_its_medium(part, medium):
    chat = read(asked(part))
    assert list(chat.media) == [medium]
    assert chat.messages[0]["content"] == [{"type": medium.kind}, TEXT]


def test_a_column_has_the_media_of_places():
    said = [{"role": "user", "content": [IMAGE, TEXT, IMAGE]}, ANSWER]
    assert list(read({"messages": said, "images": ["a.png", "b.png"]}).media) == [A, B]
    talk = [{"from": "human", "value": "<image>\nWhat<image>?"}, {"from": "gpt", "value": "A cat."}]
    chat = read({"conversations": talk, "images": '["a.png", "b.png"]'})
    assert list(chat.media) == [A, B]
    text = [{"type": "text", "text": each} for each in ("\nWhat", "?")]
    assert chat.messages[0]["content"] == [IMAGE, text[0], IMAGE, text[1]]
    one = [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "A cat."}]
    assert list(read({"conversations": one, "image": "a.png"}).media) == [A]
    alpaca = {"instruction": "<image>Say.", "output": "A cat.", "images": ["a.png"]}
    assert list(read(alpaca).media) == [A] and read(alpaca).otherwise is None


def test_media_without_places_come_before_the_first_message_of_the_user():
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What?"}, ANSWER]
    chat = read({"messages": said, "images": ["a.png", "b.png"]})
    text = {"type": "text", "text": "What?"}
    assert list(chat.media) == [A, B] and chat.messages[0]["content"] == "Be kind."
    assert chat.messages[1]["content"] == [IMAGE, IMAGE, text]


def test_a_placeholder_is_a_text_where_the_row_has_no_media():
    said = [{"role": "user", "content": "What is <image>?"}, ANSWER]
    assert read({"messages": said}).messages == said


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (asked(IMAGE), "places for more"),
        (asked({"type": "image", "image": 3}), "no path, data: address or bytes of a file, but a"),
        (asked({"type": "image", "base64": "%"}), "no text in base64"),
        (asked({"type": "image_url", "image_url": {"url": "http://a/b"}}), "nothing is fetched"),
        (asked({"type": "input_audio", "input_audio": {}}), "no text in base64"),
        ({**asked(IMAGE), "images": ["a.png", "b.png"]}, "has 2 images, and 1 stand in"),
        ({**asked(TEXT), "images": "[x"}, "not JSON"),
    ],
    ids=str,
)
def test_what_is_no_medium_is_refused_with_its_row(values, what):
    with pytest.raises(WorkError, match=what) as error:
        read(values)
    assert error.value.where == "/data/d.jsonl:7"
