"""Asking an engine, and waiting for what it makes."""

from __future__ import annotations

import queue

from tfcli.generation.settings import TextSettings
from tfcli.serve.ask import Ask, End, Piece


class Letters:
    """A tokenizer of one letter for each id; 300 ids are a model's."""

    def decode(self, ids, skip_special_tokens=True):
        return "".join(chr(0x100 + one) for one in ids)


class Heard:
    """Listens to a text.

    Attributes:
        row: what the engine cancels.
    """

    def __init__(self, engine, ask):
        self.events = queue.SimpleQueue()
        self.row = engine.submit(ask, self.events.put)

    def all(self):
        """The ids that came, the text and the end."""
        ids, text = [], ""
        while True:
            event = self.events.get(timeout=120)
            if isinstance(event, End):
                return ids, text, event
            assert isinstance(event, Piece)
            ids += [token.id for token in event.tokens]
            text += event.text


def ask(ids, new=8, **options):
    return Ask(list(ids), new, options.pop("settings", TextSettings()), **options)
