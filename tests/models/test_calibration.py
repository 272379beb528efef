from __future__ import annotations

import pytest
import torch

from tests.models.test_loading import IDS, TINY, checkpoint


@pytest.mark.parametrize("model_type", TINY)
def test_the_walk_names_every_linear_of_a_block_in_execution_order(model_type):
    model, _ = checkpoint(model_type)
    seen: list[tuple[str, int]] = []
    for name, module in model.blocks[1].named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(
                lambda _module, args, name=name: seen.append((name, args[0].data_ptr()))
            )
    with torch.no_grad():
        model(IDS)
    assert [name for name, _ in seen] == list(model.calibration.linears())
    inputs = dict(seen)
    for group in model.calibration.groups:
        assert len({inputs[name] for name in group}) == 1
