"""New weights of families that take media are drawn as transformers draws them."""

from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.media_cases import CASES as ALL
from tests.models.parity import pair_id
from tests.models.test_media_parity import checkpoint_of
from tfcli.models.loading import build, initialize
from tfcli.models.registry import read_config
from tfcli.models.rules import place_of
from tfcli.models.saving import plan_export

CASES = {case.model: case for case in ALL}


@pytest.mark.parametrize("case", CASES.values(), ids=pair_id)
def test_every_tensor_has_their_mean_and_deviation(case):
    """Within five standard errors of each."""
    torch.manual_seed(0)
    config = getattr(transformers, case.config)(**case.settings)
    theirs = checkpoint_of(getattr(transformers, case.model)._from_config(config))
    model = initialize(build(read_config(config.to_dict()), case.task), 0)
    ours = {item.name: item.read().double() for item in plan_export(model)}
    shared = {place_of(model.rules(), name).name for name in model.active_ties()}
    assert ours.keys() == theirs.keys() - shared
    for name in ours:
        value = theirs[name]
        our, their = ours[name], value.double()
        spread = max(our.std(correction=0).item(), their.std(correction=0).item())
        error = 10 * spread / our.numel() ** 0.5 + 1e-6
        assert our.mean().item() == pytest.approx(their.mean().item(), abs=error), name
        std = their.std(correction=0).item()
        assert our.std(correction=0).item() == pytest.approx(std, abs=error), name
