"""What is fuzzed: tiny real checkpoints of each container, configs, tokenizers and recipes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutate import change_bytes, change_tree, places
from tests.hostile.make_corpus import make_corpus
from tests.models.tiny import FIRST, OWN, content
from tfcli.checkpoints.folder import save_model
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config

Change = Callable[[Random, Path, int], str]
"""Changes a folder in place for a case's number; says what it did."""

WORDS = 328  # of the tokenizer, and some
PATTERNS = ("a", " ", r"\s+", r"(a+)+b", r".*x", r"\p{L}+", r"(?:a|b|ab)*c", "", "^", r"[^\s]+\s*")
TEXT = "a" * 40 + "!e é 中 \n\n  the end"


@dataclass(frozen=True)
class Subject:
    """One kind of input.

    Args:
        name: such as `config:llama`.
        source: a sound folder, of which each case is a copy.
        change: what makes a case of the copy.
        commands: words of the commands that read it; `{}` stands for it, `{out}` for an output.
        path: what is given to the commands, below the folder.
    """

    name: str
    source: Path
    change: Change
    commands: tuple[tuple[str, ...], ...]
    path: str = ""


def make_subjects(home: Path) -> dict[str, Subject]:
    """Write the sound folders below `home`, which is empty, and list what is made of them."""
    corpus = make_corpus(home, "touch canary")
    shutil.rmtree(corpus.folder)
    read = (("inspect", "{}"), ("convert", "{}", "{out}"))
    subjects = [
        Subject(f"file:{name}", path.parent, _file, read, path.name)
        if path.is_file()
        else Subject(f"file:{name}", path, _file, read)
        for name, path in corpus.good.items()
    ]
    llama = corpus.good["llama"]
    tried = ("generate", "{}", TEXT, "--max-new-tokens", "2")
    gguf = ("convert", "{}", "{out}", "--to", "gguf")
    subjects.append(Subject("tokenizer", llama, _tokenizer, (tried, gguf)))
    for family in (*FIRST, *OWN):
        folder = home / "families" / family
        model = initialize(build(read_config(content(family, vocab_size=WORDS)), None), seed=1)
        save_model(model, folder, tokenizer_from=llama)
        subjects.append(Subject(f"config:{family}", folder, _config, (read[0], tried)))
    recipes = home / "recipes"
    recipes.mkdir()
    for path in sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")):
        shutil.copyfile(path, recipes / "recipe.yaml")
        folder = home / "recipe" / path.stem
        shutil.copytree(recipes, folder)
        checked = ("recipe", "validate", "{}")
        subjects.append(Subject(f"recipe:{path.stem}", folder, _text, (checked,), "recipe.yaml"))
    return {subject.name: subject for subject in subjects}


def _file(random: Random, folder: Path, _: int) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    path = random.choice(files)
    if path.suffix == ".json" and random.random() < 0.7:
        return _json(random, path)
    path.write_bytes(change_bytes(random, path.read_bytes()))
    return f"bytes of {path.name}"


def _json(random: Random, path: Path) -> str:
    tree = json.loads(path.read_bytes())
    for _ in range(random.choice((1, 1, 1, 3))):
        tree = change_tree(random, tree)
    path.write_text(json.dumps(tree))
    return f"values of {path.name}"


def _config(random: Random, folder: Path, number: int) -> str:
    """Each key in its turn, then two at once."""
    path = folder / "config.json"
    tree = json.loads(path.read_bytes())
    every = places(tree)
    chosen = every[number % len(every)]
    tree = change_tree(random, tree, chosen)
    if random.random() < 0.2:
        tree = change_tree(random, tree)
    path.write_text(json.dumps(tree))
    return f"config.json: {'.'.join(map(str, chosen))}"


def _tokenizer(random: Random, folder: Path, _: int) -> str:
    path = folder / "tokenizer.json"
    tree: dict[str, Any] = json.loads(path.read_bytes())
    part = random.choice(("normalizer", "pre_tokenizer", "decoder", "post_processor", "any"))
    if part == "any":
        tree = change_tree(random, tree)
    else:
        tree[part] = _steps(random, part)
        if random.random() < 0.5:
            tree[part] = change_tree(random, tree[part])
    path.write_text(json.dumps(tree))
    return f"tokenizer.json: {part}"


def _steps(random: Random, part: str) -> dict[str, Any]:
    listed = {
        "normalizer": "normalizers",
        "pre_tokenizer": "pretokenizers",
        "decoder": "decoders",
        "post_processor": "processors",
    }[part]
    count = random.choice((1, 2, 3, 20, 70))
    repeated = [_step(random, part)] * count
    mixed = [_step(random, part) for _ in range(min(count, 6))]
    return {"type": "Sequence", listed: random.choice((repeated, mixed))}


def _step(random: Random, part: str) -> dict[str, Any]:
    kind = random.choice(("String", "Regex"))
    pattern = {kind: random.choice(PATTERNS)}
    text = random.choice(("", "a", "aa", "ab" * 30, "é", "z" * 3000))
    level = {"add_prefix_space": True, "trim_offsets": True, "use_regex": False}
    token = {"id": "a", "ids": [1], "tokens": ["a"]}
    text_piece = {"Sequence": {"id": random.choice("AB"), "type_id": 0}}
    piece = {"SpecialToken": {"id": random.choice("ab"), "type_id": 0}}
    every: dict[str, Sequence[dict[str, Any]]] = {
        "normalizer": (
            {"type": "Replace", "pattern": pattern, "content": text},
            {"type": "Prepend", "prepend": text},
            {"type": random.choice(("NFC", "NFKD", "Lowercase", "Nmt", "ByteLevel"))},
            {"type": "Strip", "strip_left": True, "strip_right": True},
        ),
        "pre_tokenizer": (
            {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", **level},
            {"type": "FixedLength", "length": random.choice((0, 1, 5, 2**40))},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
            {"type": "CharDelimiterSplit", "delimiter": "a"},
        ),
        "decoder": (
            {"type": "Replace", "pattern": pattern, "content": text},
            {"type": "Strip", "content": "a", "start": 1, "stop": random.choice((0, 1, 9, 2**40))},
            {"type": random.choice(("Fuse", "ByteFallback", "ByteLevel"))},
            {"type": "BPEDecoder", "suffix": text},
            {"type": "WordPiece", "prefix": text, "cleanup": True},
            {"type": "CTC", "pad_token": text, "word_delimiter_token": text, "cleanup": True},
        ),
        "post_processor": (
            {
                "type": "TemplateProcessing",
                "single": [piece, text_piece, *random.choice(([], [text_piece], [piece] * 2000))],
                "pair": [],
                "special_tokens": random.choice(({}, {"a": token}, {"a": {**token, "ids": [9]}})),
            },
            {"type": "RobertaProcessing", "sep": ["a", 1], "cls": ["b", 2**31], **level},
            {"type": "ByteLevel", **level},
        ),
    }
    return random.choice(every[part])


def _text(random: Random, folder: Path, _: int) -> str:
    path = folder / "recipe.yaml"
    data = path.read_bytes()
    parts = (
        b"*a",
        b"&a ",
        b"<<: ",
        b"? ",
        b"!!int ",
        b"!!python/name:os.system ",
        b"\0",
        b"${x}",
    )
    for _turn in range(random.choice((1, 2, 5))):
        at = random.randrange(len(data) + 1)
        if random.random() < 0.5:
            data = data[:at] + random.choice(parts) + data[at:]
        else:
            data = change_bytes(random, data)
    path.write_bytes(data)
    return "bytes of recipe.yaml"
