"""config.json: no JSON, code by name, numbers that no model has; and files beside the weights."""

from __future__ import annotations

import json
from typing import Any

from tests.hostile.case import BOTH, CONVERT, Corpus, files_of, sparse
from tests.hostile.safetensors_cases import FILE, one

CONFIG = "config.json"
TO_GGUF = ("--to", "gguf")


def make(corpus: Corpus) -> None:
    """Add the cases."""
    _not_json(corpus)
    _code(corpus)
    _numbers(corpus)
    _companions(corpus)
    _tokenizers(corpus)


def _not_json(corpus: Corpus) -> None:
    texts = {
        "a key twice": (b'{"model_type": "llama", "model_type": "bert"}', "'model_type' stands"),
        "NaN": (b'{"a": NaN}', "NaN"),
        "an endless number": (b'{"a": 1e999}', "1e999"),
        "a list": (b"[]", "a list"),
        "no UTF-8": (b'{"\xff": 1}', "not valid JSON"),
        "deep lists": (b'{"a":' + b"[" * 1_000_000, "nested too deeply"),
        "deep objects": (b'{"a":' * 100_000, "nested too deeply"),
        "a long number": (b'{"a":' + b"9" * 1_000_000 + b"}", "4300 digits"),
    }
    for name, (text, says) in texts.items():
        corpus.add(f"config {name}", CONFIG, says, {CONFIG: text, FILE: one()})
    sparse(corpus.add("config of a gigabyte", CONFIG, "bytes", {FILE: one()}) / CONFIG, 10**9)
    outside = corpus.folder / "outside.json"
    outside.write_text('{"model_type": "other"}')
    (corpus.add("config link", "config-link", CONFIG, {FILE: one()}) / CONFIG).symlink_to(outside)
    (corpus.add("config is a folder", CONFIG, "file", {FILE: one()}) / CONFIG).mkdir()


def _code(corpus: Corpus) -> None:
    """Names of code are neither looked up nor loaded: nobody refuses them, nothing runs."""
    run = f"import os; os.system({corpus.command!r})\n".encode()
    name = "AutoModelForCausalLM"
    corpus.add(
        "config names code",
        CONFIG,
        "",
        {
            CONFIG: json.dumps(
                {
                    "model_type": "evil",
                    "architectures": ["EvilForCausalLM"],
                    "auto_map": {"AutoConfig": "evil.Config", name: "evil.Model"},
                    "custom_pipelines": {"evil": {"impl": "evil.Pipe", "pt": [name]}},
                    "trust_remote_code": True,
                }
            ).encode(),
            FILE: one(),
            "evil.py": run,
            "__init__.py": run,
            "conftest.py": run,
            "setup.py": run,
        },
        by=(),
    )


def _numbers(corpus: Corpus) -> None:
    """Of a llama, one value each that no llama has. Weights alone are copied by any config."""
    good = files_of(corpus.good["llama"])
    values: dict[str, Any] = {
        "vocab_size": -1,
        "hidden_size": 2**70,
        "num_hidden_layers": 10**12,
        "num_attention_heads": 0,
        "head_dim": 10**30,
        "max_position_embeddings": 10**400,
        "num_labels": 2**31,
        "rms_norm_eps": 10**400,
        "rope_scaling": {"rope_type": {}},
        "model_type": {"a": 1},
        "tie_word_embeddings": "yes",
        "quantization_config": [1],
        "hidden_act": "os.system",
        "pad_token_id": 2**40,
    }
    for key, value in values.items():
        config = json.loads(good[CONFIG]) | {key: value}
        text = json.dumps(config).encode()
        content = {**good, CONFIG: text}
        says = key.partition("_")[0]  # the core has other names for some
        corpus.add(f"config {key}", CONFIG, says, content, by=(CONVERT,), arguments=TO_GGUF)
    odd = {"architectures": [{}], "torch_dtype": {"a": 1}, "layer_types": 5, "rope_theta": []}
    for key, value in odd.items():
        text = json.dumps(json.loads(good[CONFIG]) | {key: value}).encode()
        corpus.add(f"config {key}", CONFIG, "", {**good, CONFIG: text}, by=(), arguments=TO_GGUF)
    for name, value in {
        "bits": {"bits": 99, "group_size": 64},
        "group_size": {"bits": 4, "group_size": 10**30},
        "no group_size": {"bits": 4, "group_size": 0},
        "mode": {"bits": 4, "group_size": 64, "mode": {}},
    }.items():
        config = json.dumps({"model_type": "other", "quantization": value}).encode()
        content = {CONFIG: config, FILE: packed()}
        file = FILE if name == "group_size" else CONFIG
        corpus.add(f"mlx {name}", file, "'w", content, by=(CONVERT,))


def packed() -> bytes:
    """A weight of MLX: four rows of 64 values with 4 bits."""
    from tests.checkpoints.io.test_header import raw

    header = {
        "w.weight": {"dtype": "U32", "shape": [4, 8], "data_offsets": [0, 128]},
        "w.scales": {"dtype": "F16", "shape": [4, 1], "data_offsets": [128, 136]},
        "w.biases": {"dtype": "F16", "shape": [4, 1], "data_offsets": [136, 144]},
    }
    return raw(header, bytes(144))


def _companions(corpus: Corpus) -> None:
    """Files that are copied along: links that lead away, and sizes that none has."""
    both = {CONFIG: b'{"model_type": "other"}', FILE: one()}
    outside = corpus.folder / "secret"
    outside.write_text("{}")
    names = ("generation_config.json", "tokenizer.json", "chat_template.jinja", "merges.txt")
    for name in names:
        folder = corpus.add(f"link {name}", "/link-", name, both, by=(CONVERT,))
        (folder / name).symlink_to(outside)
    folder = corpus.add("link to /etc/passwd", "link-to", "vocab.txt", both)
    (folder / "vocab.txt").symlink_to("/etc/passwd")
    folder = corpus.add("link to /dev/zero", "link-to", "tokenizer.json", both, by=(CONVERT,))
    (folder / "tokenizer.json").symlink_to("/dev/zero")
    (
        corpus.add("companion is a folder", "vocab.txt", "file", both, by=(CONVERT,)) / "vocab.txt"
    ).mkdir()
    for name in (
        "tokenizer.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "vocab.json",
    ):
        readers = (CONVERT,) if name in ("tokenizer.model", "vocab.json") else BOTH
        folder = corpus.add(f"gigabyte of {name}", name, "bytes", both, by=readers)
        sparse(folder / name, 10**9)


def _tokenizers(corpus: Corpus) -> None:
    """Content that only those who read it refuse: `inspect`, and GGUF as the target."""
    good = files_of(corpus.good["llama"])
    name = "tokenizer.json"
    content = json.loads(good[name])

    def changed(what: str, change: Any, says: str) -> None:
        made = json.loads(good[name])
        change(made)
        files = {**good, name: json.dumps(made).encode()}
        corpus.add(f"tokenizer {what}", name, says, files, by=(CONVERT,), arguments=TO_GGUF)

    token = next(iter(content["model"]["vocab"]))
    largest = 2**31 - 1
    changed("id huge", lambda made: made["model"]["vocab"].update({token: largest}), str(largest))
    changed("id negative", lambda made: made["model"]["vocab"].update({token: -1}), "-1")
    changed("id twice", lambda made: made["model"]["vocab"].update({token: 5}), "the same id")
    changed("id as a text", lambda made: made["model"]["vocab"].update({token: "5"}), '"5"')
    changed("model of a number", lambda made: made.update(model=5), "Model")
    changed("merges of nothing", lambda made: made["model"].update(merges=["zz qq"]), "zz")
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    split["pattern"] = {"Regex": "(" * 5000}
    changed("regex", lambda made: made.update(pre_tokenizer=split), "more than 4,000")
    texts = {
        "deep lists": (b'{"model":' + b"[" * 1_000_000, "not "),
        "cut": (good[name][: len(good[name]) // 2], "line "),
        "of lists": (b'{"model":[' + b"[]," * 5_000_000 + b"1]}", "entries"),
        "no UTF-8": (b'{"\xff": 1}', "not "),
    }
    for what, (text, says) in texts.items():
        corpus.add(f"tokenizer {what}", name, says, {**good, name: text}, arguments=TO_GGUF)
    side = "tokenizer_config.json"
    for what, (text, says) in {
        "deep": (b'{"a":' + b"[" * 1_000_000, "nested too deeply"),
        "list": (b"[]", "object"),
        "token": (b'{"bos_token": {"content": 5}}', "is no token"),
    }.items():
        files = {**good, side: text}
        corpus.add(f"tokenizer config {what}", side, says, files, by=(CONVERT,), arguments=TO_GGUF)
    spm = {k: v for k, v in good.items() if k != name and k != side}
    model = "tokenizer.model"
    for what, (text, says) in {
        "cut": (b"\x0a\x0e\x0a\x05<unk>", "field 1"),
        "zeros": (bytes(1000), "pieces"),
        "length": (b"\x0a" + b"\xff" * 8 + b"\x7f" + bytes(100), "field 1"),
    }.items():
        files = {**spm, model: text}
        corpus.add(f"sentencepiece {what}", model, says, files, by=(CONVERT,), arguments=TO_GGUF)
