"""Media are taken out of a conversation; a template sees that they were there, and where from."""

from __future__ import annotations

import copy

import pytest

from tests.processors.images.pictures import drawn
from tfcli.errors import WorkError
from tfcli.processors.conversations import take_media


def test_every_form_of_an_entry():
    image = drawn(5, 5)
    content = [
        {"type": "image", "image": image},
        {"type": "image", "path": "a.png", "detail": "low"},
        {"type": "image", "base64": "QUJD"},
        {"type": "image"},
        {"type": "image_url", "image_url": {"url": "b.png"}},
        {"type": "image_url", "image_url": "c.png"},
        {"type": "video", "video": [image, image]},
        {"type": "text", "text": "What is this?"},
        "and this?",
    ]
    talk = [{"role": "user", "content": content}, {"role": "assistant", "content": "A name."}]
    before = copy.copy(content)
    taken = take_media(talk)
    assert taken.images == [image, "a.png", "data:image/*;base64,QUJD", "b.png", "c.png"]
    assert taken.videos == [[image, image]]
    assert taken.messages[0]["content"] == [
        {"type": "image", "image": "image"},
        {"type": "image", "path": "a.png", "detail": "low"},
        {"type": "image", "base64": "image"},
        {"type": "image"},
        {"type": "image", "url": "b.png"},
        {"type": "image", "url": "c.png"},
        {"type": "video", "video": "video"},
        {"type": "text", "text": "What is this?"},
        "and this?",
    ]
    assert taken.messages[1] == talk[1]
    assert talk[0]["content"] == before and content[0]["image"] is image


def test_a_message_of_another_form():
    with pytest.raises(WorkError, match="no mapping") as caught:
        take_media([{"role": "user", "content": "a"}, "b"])
    assert caught.value.where == "messages[1]"
