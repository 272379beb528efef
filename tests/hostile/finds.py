"""What the fuzzer and people found: a sound folder, one change to it, and a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSPECT = ("inspect", "{}")
CONVERT = ("convert", "{}", "{out}")
GGUF = (*CONVERT, "--to", "gguf")
GENERATE = ("generate", "{}", "a" * 40 + "!e \u00e9", "--max-new-tokens", "2")


@dataclass(frozen=True)
class Find:
    """One find.

    Args:
        name: what it is.
        change: made to the folder.
        command: `{}` stands for the folder, `{out}` for an output.
        says: what the error must say; None where the command may also take it.
        source: the sound folder.
    """

    name: str
    change: Callable[[Path], None]
    command: tuple[str, ...] = INSPECT
    says: str | None = None
    source: str = "llama"


def config(**changes: Any) -> Callable[[Path], None]:
    """Other keys in config.json."""
    return values("config.json", **changes)


def values(name: str, **changes: Any) -> Callable[[Path], None]:
    """Other keys in a file of JSON."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **changes}))

    return change


def added(name: str, text: str) -> Callable[[Path], None]:
    """Text at the end of an object in a file of JSON, which JSON's writer would not write."""

    def change(folder: Path) -> None:
        content = (folder / name).read_text().rstrip().removesuffix("}")
        (folder / name).write_text(f"{content}, {text}}}")

    return change


def tokenizer(**parts: Any) -> Callable[[Path], None]:
    """Other steps in tokenizer.json."""
    return values("tokenizer.json", **parts)


def steps(listed: str, *every: dict[str, Any]) -> dict[str, Any]:
    """A sequence of steps."""
    return {"type": "Sequence", listed: list(every)}


def replace(kind: str, pattern: str, content: str) -> dict[str, Any]:
    """A step that replaces a String or a Regex."""
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


BEGIN = replace("Regex", "^", "aa")
STRIP = {"type": "Strip", "content": "a", "start": 1, "stop": 9}


FINDS = (
    Find("layers that are not there", config(num_hidden_layers=10_000), GENERATE, "10,000"),
    Find("layers that might be there", config(num_hidden_layers=1_000), GENERATE, "not in the"),
    Find("a table of 2e9 rows", config(vocab_size=2_000_000_000), GGUF, "vocab_size"),
    Find("a tag of a list", config(x={"__float__": []})),
    Find("lists 700 deep", added("config.json", '"x": ' + "[" * 700 + "]" * 700), says="deeply"),
    Find("a label of 5000 digits", config(id2label={"9" * 5000: "x"}), GENERATE, "id2label"),
    Find(
        "an architecture of 10 MB", config(architectures=["A" * 10_000_000]), GENERATE, "architect"
    ),
    Find(
        "a fraction beyond numbers",
        config(
            rope_parameters={
                "rope_type": "linear",
                "factor": 2.0,
                "rope_theta": 1e4,
                "partial_rotary_factor": 1e308,
            }
        ),
        GENERATE,
        "1e30",
    ),
    Find("kinds of layers in a list", config(layer_types=[[], {}]), GENERATE),
    Find("labels that are lists", config(id2label={"0": []}, label2id=None), GENERATE, "id2label"),
    Find(
        "text put before each line twice",
        tokenizer(normalizer=steps("normalizers", BEGIN, BEGIN)),
        GENERATE,
        "where nothing stands",
    ),
    Find(
        "letters taken from before a token",
        tokenizer(decoder=steps("decoders", STRIP)),
        GENERATE,
        "more than one letter",
    ),
)
