"""`tfcli merge`: whose tokenizer, template and end of text the result has; bases of any kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from tests.checkpoints.gguf.convert import to_gguf
from tests.merge.adapters import by_hand, merge
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.commands.app import run
from tfcli.tokenizers.load import load_tokenizer

Q = "model.layers.0.self_attn.q_proj"
TEMPLATE = "{% for m in messages %}{{ m.content }}!{% endfor %}"


def adapter_of(folder: Path) -> Path:
    factors = {f"{Q}.lora_A.weight": torch.ones(2, 64), f"{Q}.lora_B.weight": torch.ones(64, 2)}
    return by_hand(folder, factors)


def change(path: Path, **keys: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **keys}))


def test_the_adapter_s_tokenizer_takes_the_place_of_the_base_s(
    tiny_llama: Path, tiny_tokenizer: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_llama, base)
    (base / "chat_template.jinja").write_text("the base's")
    (base / "vocab.txt").write_text("the base's")
    change(base / "generation_config.json", eos_token_id=0, temperature=0.5)
    adapter = adapter_of(tmp_path / "adapter")
    for file in tiny_tokenizer.iterdir():
        shutil.copyfile(file, adapter / file.name)
    end = json.loads((adapter / "tokenizer.json").read_text())["model"]["vocab"]["b"]
    change(adapter / "tokenizer_config.json", chat_template=TEMPLATE, eos_token="b")

    result = merge(base, adapter, tmp_path / "out")

    assert result.tokenizer_of == "adapter"
    merged = load_tokenizer(tmp_path / "out")
    assert (merged.chat_template, merged.eos_id) == (TEMPLATE, end)
    assert not (tmp_path / "out/vocab.txt").exists()
    assert not (tmp_path / "out/chat_template.jinja").exists()
    # What ended a text of the base still does, and so does what ended those of the training.
    said = json.loads((tmp_path / "out/generation_config.json").read_text())
    assert said == {"eos_token_id": [0, end], "temperature": 0.5}


def test_tokens_that_the_merged_model_has_no_rows_for_are_told_and_end_nothing(
    tiny_llama: Path, tiny_tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens were added to the tokenizer, and the table was not resized, or not saved."""
    adapter = adapter_of(tmp_path / "adapter")
    for file in tiny_tokenizer.iterdir():
        shutil.copyfile(file, adapter / file.name)
    tokens = Tokenizer.from_file(str(adapter / "tokenizer.json"))
    tokens.add_special_tokens(["<|im_end|>"])
    tokens.save(str(adapter / "tokenizer.json"))
    change(adapter / "tokenizer_config.json", eos_token="<|im_end|>")
    assert load_tokenizer(adapter).eos_id == 320
    words = ["merge", str(tiny_llama), str(adapter), str(tmp_path / "out")]
    assert run(words) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "beyond the 320 rows of the model, up to 320, the end of text (320) among them" in said
    generation = tmp_path / "out/generation_config.json"
    assert not generation.exists() or 320 not in json.loads(generation.read_text())["eos_token_id"]


def test_a_chat_template_alone_goes_with_the_base_s_tokenizer(
    tiny_llama: Path, tmp_path: Path
) -> None:
    adapter = adapter_of(tmp_path / "adapter")
    (adapter / "chat_template.jinja").write_text(TEMPLATE)
    result = merge(tiny_llama, adapter, tmp_path / "out")
    merged, base = load_tokenizer(tmp_path / "out"), load_tokenizer(tiny_llama)
    assert result.tokenizer_of == "base"
    assert merged.chat_template == TEMPLATE
    assert merged.encode("a text") == base.encode("a text")


def test_an_adapter_s_rules_of_generating_take_the_place_of_the_base_s(
    tiny_llama: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_llama, base)
    change(base / "generation_config.json", eos_token_id=0, temperature=0.5)
    adapter = adapter_of(tmp_path / "adapter")
    rules = {"eos_token_id": [0, 7], "repetition_penalty": 1.1}
    change(adapter / "generation_config.json", **rules)
    result = merge(base, adapter, tmp_path / "out")
    assert result.tokenizer_of == "base"
    assert json.loads((tmp_path / "out/generation_config.json").read_text()) == rules


def test_a_base_of_another_container_with_its_tokenizer_inside(
    tiny_llama: Path, tmp_path: Path
) -> None:
    (tmp_path / "gguf").mkdir()
    file = tmp_path / "gguf/model.gguf"
    to_gguf(tiny_llama, file)
    adapter = adapter_of(tmp_path / "adapter")
    merge(file, adapter, tmp_path / "out")
    before, after = open_tensors(tiny_llama), open_tensors(tmp_path / "out")
    assert torch.allclose(after[f"{Q}.weight"], before[f"{Q}.weight"] + 4, atol=1e-5)
    merged, base = load_tokenizer(tmp_path / "out"), load_tokenizer(tiny_llama)
    assert merged.encode("a text") == base.encode("a text")
