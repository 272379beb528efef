"""The shipped recipe of finetuning, end to end on a tiny model."""

from __future__ import annotations

import json

from tfcli.checkpoints.hf.source import open_tensors
from tfcli.commands.app import run
from tfcli.tokenizers.load import load_tokenizer

TINY = {
    "base.config.hidden_size": 32,
    "base.config.intermediate_size": 64,
    "base.config.num_hidden_layers": 2,
    "base.config.num_attention_heads": 2,
    "base.config.num_key_value_heads": 2,
    "base.max_steps": 4,
    "base.schedule.warmup_steps": 1,
    "base.sequence_length": 64,
    "sft.epochs": 1,
    "answer.max_new_tokens": 4,
}


def test_a_model_is_trained_on_text_and_then_on_conversations(tmp_path, capsys):
    output = tmp_path / "out"
    sets = [part for key, value in TINY.items() for part in ("--set", f"steps.{key}={value}")]
    assert run(["run", "sft", "--output", str(output), *sets, "--json"]) == 0
    out = capsys.readouterr()
    found = {step["step"]: step["result"] for step in json.loads(out.out)["steps"]}
    base, sft = found["base"], found["sft"]
    assert sft["epochs"] >= 1 and sft["kept"] == "best" and sft["validation_loss"] > 0
    said = " ".join(out.err.split())
    assert "rows of the format messages" in said
    # What is asked is not learned: a part of the tokens are targets.
    ids = sum(
        len(load_tokenizer(output / "tokenizer").encode(message["content"]))
        for line in (output / "chats" / "train.jsonl").read_text().splitlines()
        for message in json.loads(line)["messages"]
    )
    assert 0 < sft["tokens"] < ids
    before, after = (open_tensors(output / name) for name in ("base", "sft"))
    assert any((before[name] != after[name]).any() for name in before.names)
    assert base["steps"] == 4 and found["answer"]["text"] is not None
