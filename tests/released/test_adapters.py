"""LoRA and QLoRA of a released model: it learns conversations, and PEFT reads what is written."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from tfcli.checkpoints.folder import load_model
from tfcli.commands.app import run as run_command
from tfcli.tokenizers.load import load_tokenizer


def conversations(path: Path, count: int, least: int) -> Path:
    """Sums of a number from `least` on and a small one, answered in a way of their own."""
    chance = random.Random(0)
    lines = []
    for _ in range(count):
        first, second = chance.randrange(least, least + 70), chance.randrange(1, 10)
        talk = [
            {"role": "user", "content": f"What is {first} plus {second}?"},
            {
                "role": "assistant",
                "content": f"Aye, captain: {first} + {second} = {first + second}",
            },
        ]
        lines.append(json.dumps({"messages": talk}))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_a_released_model_learns_from_200_conversations_and_peft_reads_the_adapter(
    kind: str, converted: dict[str, Path], tmp_path: Path
) -> None:
    import peft
    import transformers

    dense = base = converted["smollm2"]
    if kind == "qlora":
        base = tmp_path / "nf4"
        words = ["quantize", str(dense), str(base), "--method", "bnb", "--quant-type", "nf4", "-q"]
        assert run_command(words) == 0
    data = conversations(tmp_path / "train.jsonl", 200, least=10)
    held_out = conversations(tmp_path / "held-out.jsonl", 8, least=100)
    recipe = {
        "model": str(base),
        "output": str(tmp_path / "adapter"),
        "data": str(data),
        "validation": str(held_out),
        "adapter": {"type": "lora", "rank": 8, "alpha": 16},
        "sequence_length": 64,
        "batch_size": 10,
        "epochs": 1,
        "validate_every": 2,
        "optimizer": {"lr": 5e-4},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    assert run_command(["train", str(tmp_path / "recipe.yaml"), "-q"]) == 0
    lines = (tmp_path / "adapter/metrics.jsonl").read_text().splitlines()
    losses = [found["val_loss"] for found in map(json.loads, lines) if "val_loss" in found]
    print(f"{kind}: held-out loss {losses[0]:.3f} after two steps, {losses[-1]:.3f} at the end")
    assert losses[-1] < 0.5 * losses[0]
    ids = torch.tensor([load_tokenizer(dense).encode("What is 21 plus 3?")])
    loaded = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(loaded, tmp_path / "adapter").eval()
    # Without gradients bitsandbytes repacks weights for a product of its own, which rounds by 1%.
    theirs.enable_input_require_grads()
    wanted = theirs(ids).logits.detach()
    with torch.no_grad():
        found = load_model(tmp_path / "adapter")(input_ids=ids).logits
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()
