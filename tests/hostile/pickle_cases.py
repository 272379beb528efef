"""Files of torch.save: pickles that call, bombs, archives in archives, files that are cut off."""

from __future__ import annotations

import json

from tests.checkpoints.torch.hostile_pickles import (
    corpus as pickles,
)
from tests.checkpoints.torch.hostile_pickles import (
    valid_legacy,
    valid_zip,
)
from tests.hostile.case import Corpus

FILE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
OTHER = {"config.json": b'{"model_type": "other"}'}
# Those of the unit tests that stand for a kind each; the others are not repeated here.
CHOSEN = (
    "zip: os.system by REDUCE",
    "zip: os.system by STACK_GLOBAL",
    "zip: eval",
    "zip: a class with __reduce__",
    "zip: BUILD of a function",
    "zip: a chain of getattr",
    "zip: torch's nested file",
    "zip: a laugh of tuples",
    "zip: a record in itself",
    "zip: bytes made again and again",
    "zip: BINUNICODE8 past the end",
    "zip: a storage that is said to be larger",
    "zip: a storage outside of the archive",
    "zip: a negative shape",
    "zip: an overflowing shape",
    "zip: a petabyte out of one value",
    "zip: a bomb in the pickle",
    "zip: a bomb in a storage",
    "zip: a file in a zip in a zip",
    "zip: a name that leads up",
    "zip: TorchScript",
    "zip: two entries at one place",
    "zip: a trillion entries",
    "legacy: os.system",
    "legacy: os.system in the place of the magic number",
    "legacy: os.system in the place of the keys",
    "legacy: a storage of 4 TB",
)


def make(corpus: Corpus) -> None:
    """Add the cases."""
    corpus.keep("pickle", {**OTHER, FILE: valid_zip()})
    corpus.keep("legacy pickle", {**OTHER, FILE: valid_legacy()})
    found = {name: (content, says) for name, content, says in pickles(corpus.command)}
    for name in CHOSEN:
        content, says = found[name]
        corpus.add(f"pickle {name.replace(':', '')}", FILE, says, {**OTHER, FILE: content})
    _cut(corpus)
    bomb = found["zip: eval"][0]
    for name in ("weights.pt", "last.ckpt"):
        corpus.add(f"pickle by the name {name}", name, "eval", {**OTHER, name: bomb})
    safe = "model.safetensors"
    corpus.add("pickle as safetensors", safe, "eval", {**OTHER, safe: bomb})
    shards = json.dumps({"weight_map": {"w": "../x.bin"}}).encode()
    corpus.add("pickle shard traversal", "leads outside", "'../x.bin'", {**OTHER, INDEX: shards})
    shards = json.dumps({"weight_map": {"w": "b"}}).encode()
    corpus.add("pickle shard evil", "b", "eval", {**OTHER, INDEX: shards, "b": bomb})


def _cut(corpus: Corpus) -> None:
    whole = valid_zip()
    marks = {
        "after the magic": 4,
        "in the pickle": whole.index(b"torch._utils"),
        "before the directory": whole.index(b"PK\x01\x02"),
        "in the directory": whole.index(b"PK\x01\x02") + 60,
        "before the end record": whole.rindex(b"PK\x05\x06"),
        "by one byte": len(whole) - 1,
    }
    for where, at in marks.items():
        corpus.add(f"zip cut {where}", FILE, "truncated", {**OTHER, FILE: whole[:at]})
    whole = valid_legacy()
    marks = {
        "in the magic": 4,
        "in the object": whole.index(b"torch._utils"),
        "before the keys": whole.rindex(b"\x80\x02]"),
        "before the storage": len(whole) - 24,
        "in the storage": len(whole) - 8,
        "by one byte": len(whole) - 1,
    }
    for where, at in marks.items():
        says = "object: byte" if where == "in the object" else "cut off"
        says = "truncated" if "storage" in where or "byte" in where else says
        corpus.add(f"legacy cut {where}", FILE, says, {**OTHER, FILE: whole[:at]})
