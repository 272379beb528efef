"""What a forward pass may not do on a device: wait for it. Shown without one, on shapes alone.

Tensors of the meta device have no values, so that whatever reads one fails: ids, padding,
positions, the counts of experts. Copies from the host are counted, where a second pass makes them
again.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from tests.models import seq2seq_parity
from tests.models.parity import CASES, MAIN, WHOLE, inputs, pair_id, rotated
from tfcli.models.loading import build
from tfcli.models.registry import read_config
from tfcli.models.stacking import stack_experts

WAYS = ("whole", "padded", "packed", "cached")
pytestmark = pytest.mark.families


class Copies(TorchDispatchMode):
    """The operations that move values from the host to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [each for each in args if isinstance(each, torch.Tensor)]
        from_host = any(each.device.type == "cpu" and each.ndim for each in given)
        if from_host and isinstance(out, torch.Tensor) and out.is_meta:
            self.found.append(str(func))
        return out


@pytest.fixture(autouse=True)
def without_autocast(monkeypatch):
    """autocast has no entry for the meta device, and fails where it is asked of it."""
    real = torch.autocast
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type: False)
    monkeypatch.setattr(
        torch,
        "autocast",
        lambda device, **options: nullcontext() if device == "meta" else real(device, **options),
    )


def on_meta(case: Any, task: str) -> Any:
    """A model without values; mixtures are stacked, as on a device they have to be."""
    config = read_config(getattr(transformers, case.config)(**case.settings).to_dict())
    model = build(config, task).eval()
    # The product of groups has a kernel for bfloat16 only.
    return model.bfloat16() if stack_experts(model) else model


def meta(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: each.to("meta") for name, each in batch.items()}


def check(model: Any, batch: dict[str, torch.Tensor], **more: Any) -> None:
    """Run twice: the first pass fills what is made once on a device."""
    with torch.no_grad():
        model(**batch, **more)
        with Copies() as copies:
            model(**batch, **more)
    assert copies.found == [], more.keys()


@pytest.mark.parametrize(("case", "task", "way"), rotated(MAIN, WAYS), ids=pair_id)
def test_a_forward_pass_reads_nothing_from_a_device(case, task, way):
    model, batch = on_meta(case, task), meta(inputs(case, task))
    ids = batch["input_ids"]
    if way == "padded":
        check(model, batch, attention_mask=torch.ones_like(ids))
    elif way == "packed" and model.body_class.packs and task not in WHOLE:
        check(model, batch, segment_ids=torch.ones_like(ids))
    elif way == "cached" and task == "causal-lm":
        cache = model.make_cache()
        with torch.no_grad():
            model(input_ids=ids, cache=cache)
        check(model, {"input_ids": ids[:, :1]}, cache=cache)
    else:
        check(model, batch)


@pytest.mark.parametrize(("case", "task"), seq2seq_parity.LM, ids=pair_id)
def test_an_encoder_decoder_reads_nothing_from_a_device(case, task):
    model, batch = on_meta(case, task), meta(seq2seq_parity.inputs(case, task))
    check(model, batch)
    check(model, batch, attention_mask=torch.ones_like(batch["input_ids"]))


def test_single_experts_are_counted_by_the_host():
    """Why mixtures are stacked on a device."""
    case = next(case for case in CASES if case.config == "MixtralConfig")
    config = read_config(getattr(transformers, case.config)(**case.settings).to_dict())
    with pytest.raises(NotImplementedError, match="meta"):
        build(config)(**meta(inputs(case, "causal-lm")))
