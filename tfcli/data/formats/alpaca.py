"""`alpaca`: an instruction, perhaps with an input, and the output (Stanford Alpaca, 2023).

A model with a chat template reads it as a conversation of two messages; one without reads the text
that Alpaca itself was trained on.
"""

from __future__ import annotations

from tfcli.data.formats.format import Format, text_of
from tfcli.data.formats.media import MEDIA_COLUMNS, take_media
from tfcli.data.formats.sample import Chat, Pair
from tfcli.data.rows import Row

_BEGIN = "Below is an instruction that describes a task"
_END = "Write a response that appropriately completes the request.\n\n"
_WITH_INPUT = (
    f"{_BEGIN}, paired with an input that provides further context. {_END}"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
_WITHOUT = f"{_BEGIN}. {_END}" + "### Instruction:\n{instruction}\n\n### Response:"


def _read(row: Row) -> Chat:
    instruction, answer = text_of(row, "instruction"), text_of(row, "output")
    given, system = text_of(row, "input", default=""), text_of(row, "system", default="")
    # Filled in one step, so that braces in a text are only braces.
    template = _WITH_INPUT if given else _WITHOUT
    prompt = template.format(instruction=instruction, input=given)
    question = f"{instruction}\n\n{given}" if given else instruction
    messages = [
        *([{"role": "system", "content": system}] if system else []),
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]
    without, media = take_media(messages, row)
    return Chat(without, otherwise=None if media else Pair(prompt, f"\n{answer}"), media=media)


ALPACA = Format(
    "alpaca",
    ("instruction", "output"),
    ("input", "system", *MEDIA_COLUMNS),
    _read,
    '{"instruction": "...", "input": "...", "output": "..."}',
)
