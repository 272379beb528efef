"""AdaLoRA as PEFT has it: its schedule step by step, its files both ways, and what it refuses."""

from __future__ import annotations

import json

import peft
import pytest
import torch
import transformers

from tests.adapters.test_peft import IDS, answer, move, near, with_peft
from tests.merge.adapters import base_folder
from tfcli.adapters.read import read_adapter
from tfcli.adapters.write import save_adapter
from tfcli.checkpoints.folder import load_model
from tfcli.commands.app import run as run_command
from tfcli.errors import ModelError, UsageError
from tfcli.models.adapters.attach import add_adapter
from tfcli.models.adapters.control import combine_adapters, disabled, merge_adapters
from tfcli.models.adapters.settings import AdapterSettings, Allocation
from tfcli.train.adalora import Orthogonal, adaptive, allocate_ranks
from tfcli.train.objectives.causal_lm import CausalLM

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore::UserWarning:peft")]
STEPS = 12
TARGETS = ["q_proj", "up_proj"]
HOW = Allocation(target_rank=2, first_steps=2, last_steps=3, every=2)
SETTINGS = AdapterSettings(
    type="adalora", rank=4, alpha=6, target_modules=tuple(TARGETS), allocation=HOW
)


def theirs(base, **changes):
    config = peft.AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=6, tinit=2, tfinal=3, deltaT=2, total_step=STEPS,
        target_modules=TARGETS, task_type="CAUSAL_LM", **changes,
    )  # fmt: skip
    loaded = transformers.AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    return peft.get_peft_model(loaded, config)


def same_values(ours, other):
    """Give PEFT's factors the values of ours."""
    for path, layer in other.base_model.model.named_modules():
        if isinstance(layer, peft.tuners.adalora.layer.SVDLinear):
            change = ours.get_submodule(path).change("default")
            for name in ("lora_A", "lora_E", "lora_B"):
                getattr(layer, name)["default"].data.copy_(getattr(change, name).detach())


def test_ranks_and_losses_are_those_of_peft_at_every_step(tmp_path):
    base = base_folder(tmp_path / "base")
    ours, other = load_model(base, dtype=torch.float32), theirs(base)
    add_adapter(ours, SETTINGS)
    same_values(ours, other)
    ours.train(), other.train()
    moved = [p for p in ours.parameters() if p.requires_grad]
    first = torch.optim.SGD(moved, lr=2.0)
    second = torch.optim.SGD([p for p in other.parameters() if p.requires_grad], lr=2.0)
    allocate_ranks(ours, first, STEPS)
    objective = Orthogonal(CausalLM(), ours)
    left = []
    for step in range(1, STEPS + 1):
        ids = torch.randint(0, 60, (2, 8), generator=torch.Generator().manual_seed(step))
        batch = {"input_ids": ids[:, :-1], "targets": ids[:, 1:]}
        loss = objective.loss(ours, batch) / objective.count(batch)
        loss.backward()
        expected = other(input_ids=ids, labels=ids).loss
        expected.backward()
        near(loss, expected)
        first.step(), second.step()
        other.base_model.update_and_allocate(step)
        first.zero_grad(), second.zero_grad()
        for path, layer in other.base_model.model.named_modules():
            if isinstance(layer, peft.tuners.adalora.layer.SVDLinear):
                near(ours.get_submodule(path).change("default").lora_E, layer.lora_E["default"])
        left.append(sum(int((each.lora_E != 0).sum()) for each in adaptive(ours)))
    assert left[0] == 4 * 4 and left[-1] == 2 * 4 and left[3] < 16
    masks = {tuple(each.mask.tolist()) for each in adaptive(ours)}
    assert len(masks) > 1, "modules keep different ranks"
    # The file holds the ranks that are left, and both read it.
    ours.eval(), other.eval()
    near(answer(ours, IDS), answer(other, IDS))
    save_adapter(ours, tmp_path / "ours")
    other.save_pretrained(tmp_path / "theirs")
    near(answer(with_peft(base, tmp_path / "ours"), IDS), answer(ours, IDS))
    model = load_model(base, dtype=torch.float32)
    read_adapter(model, tmp_path / "theirs")
    near(answer(model, IDS), answer(other, IDS))
    patterns = [
        json.loads((tmp_path / who / "adapter_config.json").read_text())["rank_pattern"]
        for who in ("ours", "theirs")
    ]
    assert patterns[0] == patterns[1]
    words = ["merge", str(base), str(tmp_path / "theirs"), str(tmp_path / "merged"), "-q"]
    assert run_command(words) == 0
    near(answer(load_model(tmp_path / "merged"), IDS), answer(other, IDS))


def test_it_begins_as_the_base_and_is_turned_off_merged_and_not_added_up(tmp_path):
    base = base_folder(tmp_path / "base")
    model = load_model(base, dtype=torch.float32)
    plain = answer(model, IDS)
    add_adapter(model, SETTINGS)
    assert torch.equal(answer(model, IDS), plain)
    move(model)
    changed = answer(model, IDS)
    assert (changed - plain).abs().max() > 1e-3
    with disabled(model):
        assert torch.equal(answer(model, IDS), plain)
    with pytest.raises(ModelError, match="does not add up"):
        combine_adapters(model, {"default": 1.0}, "sum")
    merge_adapters(model)
    near(answer(model, IDS), changed)


def test_steps_that_leave_none_for_sharing_out_are_refused(tmp_path):
    model = load_model(base_folder(tmp_path / "base"))
    add_adapter(model, SETTINGS)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    with pytest.raises(UsageError, match="2 first and 3 last steps leave none of 5"):
        allocate_ranks(model, optimizer, 5)
