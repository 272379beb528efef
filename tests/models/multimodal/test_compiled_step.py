"""After a prompt with images, one graph serves every position of a static cache."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from tests.models.media_cases import gemma3, llava_next, paligemma, qwen2_vl
from tests.models.parity import assert_close
from tests.models.test_media_parity import batch, reference, twin
from tfcli.generation.step import compiled_step, plain_step

pytestmark = pytest.mark.families
CASES = [group.CASES[0] for group in (llava_next, gemma3, paligemma, qwen2_vl)]
STEPS = 4


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_compiled_step_goes_on_after_images(case):
    torch._dynamo.reset()
    model, inputs = twin(case, reference(case)), batch(case)
    length = inputs["input_ids"].shape[1]
    with torch.no_grad():
        fixed, growing = model.make_cache("static", length + STEPS), model.make_cache()
        for cache in (fixed, growing):
            model(**inputs, cache=cache)
        counter = CompileCounterWithBackend("eager")
        step, expected = compiled_step(model, fixed, backend=counter), plain_step(model, growing)
        for word in range(5, 5 + STEPS):
            ids = torch.tensor([[word], [word + 1]])
            assert_close(step(ids), expected(ids))
    assert counter.frame_count == 1
