"""A forward pass is one graph: nothing in it asks a value of a tensor, or what dynamo cannot trace.

With dynamo's own eager backend, which traces as the real ones do and needs no compiler.
"""

from __future__ import annotations

import pytest
import torch

from tests.models import seq2seq_parity
from tests.models.parity import MAIN, assert_close, inputs, pair_id, reference, twin
from tfcli.models.stacking import stack_experts

pytestmark = pytest.mark.families

NAMES = (  # one for each kind of mask, position and mixture
    "llama-grouped",
    "llama-rope-dynamic",
    "phi3-long",
    "gemma3",
    "bloom",
    "mixtral-plain",
    "deepseek_v3-plain",
    "bert",
)
T5 = seq2seq_parity.LM[0]


def same_when_compiled(model, batch, relative=1e-5):
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    mask = torch.ones_like(batch["input_ids"])
    mask[0, :3] = 0
    for given in (batch, batch | {"attention_mask": mask}):
        with torch.no_grad():
            expected, actual = model(**given).logits, compiled(**given).logits
        if "attention_mask" in given and actual.shape[:2] == mask.shape:
            actual, expected = actual[mask.bool()], expected[mask.bool()]
        assert_close(actual, expected, relative)


@pytest.mark.parametrize(("case", "task"), [p for p in MAIN if p[0].name in NAMES], ids=pair_id)
def test_a_model_is_one_graph(case, task):
    model = twin(reference(case, task), task)
    stack_experts(model)
    same_when_compiled(model, inputs(case, task))


def test_an_encoder_decoder_is_one_graph():
    case, task = T5
    model = twin(seq2seq_parity.reference(case, task), task)
    same_when_compiled(model, seq2seq_parity.inputs(case, task))
