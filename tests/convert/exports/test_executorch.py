"""`--to executorch`: ExecuTorch's runtime answers as the model does, one row at a time."""

from __future__ import annotations

import pytest
import torch
from executorch.runtime import Runtime

from tests.convert.exports.folders import convert, logits, model_of, padded, saved

pytestmark = [pytest.mark.families, pytest.mark.interop]


@pytest.mark.parametrize("model_type", ["llama", "bert"])
def test_the_program_answers_as_the_model(tmp_path, model_type):
    source = saved(tmp_path / "in", model_type, num_hidden_layers=1)
    result = convert(source, tmp_path / "out", to="executorch")
    assert result.files == ["model.pte"] and result.verified == 3
    assert 0 < result.largest_error < 1e-4
    program = Runtime.get().load_program(tmp_path / "out/model.pte")
    method = program.load_method("forward")
    model = model_of(source)
    for length in (4, 23):
        batch = padded(model, 1, length)
        [found] = method.execute(list(batch.values()))
        torch.testing.assert_close(found, logits(model, batch), rtol=1e-3, atol=1e-3)
