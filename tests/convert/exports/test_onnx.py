"""`--to onnx`: onnxruntime answers as the model does, for batches that were not traced."""

from __future__ import annotations

import json

import onnx
import onnxruntime
import pytest
import torch

from tests.convert.exports.folders import convert, logits, model_of, padded, saved
from tfcli.convert.exports import onnx as export
from tfcli.convert.exports.formats import Traced
from tfcli.convert.exports.graph import Graph, output_names, trace
from tfcli.convert.exports.inputs import dimensions
from tfcli.errors import WorkError

pytestmark = [pytest.mark.families, pytest.mark.interop]
FAMILIES = ["llama", "qwen3", "gemma2", "gpt2", "mixtral", "mamba", "bert", "t5"]


def session(folder):
    return onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])


def answer(folder, batch, name="logits"):
    given = {key: value.numpy() for key, value in batch.items()}
    return torch.from_numpy(session(folder).run([name], given)[0])


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_graph_answers_as_the_model(tmp_path, model_type):
    source = saved(tmp_path / "in", model_type)
    result = convert(source, tmp_path / "out", to="onnx")
    assert result.files == ["model.onnx"] and result.verified == 3
    assert 0 < result.largest_error < 1e-5
    model = model_of(source)
    for rows, length in ((1, 4), (5, 19)):
        batch = padded(model, rows, length)
        torch.testing.assert_close(
            answer(tmp_path / "out", batch), logits(model, batch), rtol=1e-4, atol=1e-4
        )


def test_a_classifier_finds_the_last_token_in_the_graph(tmp_path):
    source = saved(tmp_path / "in", "t5", "sequence-classification", num_layers=1)
    convert(source, tmp_path / "out", to="onnx")
    ids = torch.tensor([[7, 8, 1, 0, 0], [7, 1, 8, 9, 1]])  # 1 ends a text
    batch = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    torch.testing.assert_close(
        answer(tmp_path / "out", batch), logits(model_of(source), batch), rtol=1e-4, atol=1e-5
    )


def test_names_are_those_of_optimum(tmp_path):
    convert(saved(tmp_path / "in", "bart"), tmp_path / "out", to="onnx")
    found = session(tmp_path / "out")
    assert {each.name: each.shape for each in found.get_inputs()} == {
        "input_ids": ["batch_size", "encoder_sequence_length"],
        "attention_mask": ["batch_size", "encoder_sequence_length"],
        "decoder_input_ids": ["batch_size", "decoder_sequence_length"],
    }
    [output] = found.get_outputs()
    assert output.name == "logits"
    assert output.shape == ["batch_size", "decoder_sequence_length", 61]


@pytest.mark.parametrize(
    ("task", "names", "shape"),
    [
        ("question-answering", ["start_logits", "end_logits"], (2, 9)),
        ("embedding", ["last_hidden_state"], (2, 9, 32)),
        ("multiple-choice", ["logits"], (2, 3)),
    ],
)
def test_each_task_has_its_outputs(tmp_path, task, names, shape):
    convert(saved(tmp_path / "in", "distilbert", task), tmp_path / "out", to="onnx")
    assert [each.name for each in session(tmp_path / "out").get_outputs()] == names
    ids = torch.full((2, 3, 9) if task == "multiple-choice" else (2, 9), 7)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for name in names:
        assert answer(tmp_path / "out", batch, name).shape == shape


def test_the_folder_is_complete(tiny_llama, tmp_path):
    result = convert(tiny_llama, tmp_path / "out", to="onnx", dtype="fp16")
    assert "tokenizer.json" in result.companions
    assert {"tokenizer.json", "config.json", "README.md"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["dtype"] == "float16" and config["model_type"] == "llama"
    assert "batch_size, sequence_length" in (tmp_path / "out/README.md").read_text()
    assert session(tmp_path / "out").get_outputs()[0].type == "tensor(float16)"


def test_many_weights_lie_beside_the_graph(tmp_path):
    model = model_of(saved(tmp_path / "in", "llama"))
    traced = Traced(trace(Graph(model).eval()), dimensions(model), output_names(model.task))
    with torch.no_grad():
        files = export.write(traced, tmp_path, inline_bytes=1000)
    assert [path.name for path in files] == ["model.onnx", "model.onnx_data"]
    matrices = [each for each in model.parameters() if each.ndim == 2]
    weights = sum(each.numel() * each.element_size() for each in matrices)
    assert files[0].stat().st_size < weights <= files[1].stat().st_size
    batch = padded(model, 2, 9)
    torch.testing.assert_close(answer(tmp_path, batch), logits(model, batch), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_checked_is_only_written_on_request(tmp_path):
    source = saved(tmp_path / "in", "gpt2")
    with pytest.raises(WorkError, match="ONNX graphs in BF16 do not run on a CPU"):
        convert(source, tmp_path / "out", to="onnx", dtype="bf16")
    assert not (tmp_path / "out").exists()
    result = convert(source, tmp_path / "out", to="onnx", dtype="bf16", verify="none")
    assert result.verified == 0
    types = {each.data_type for each in onnx.load(tmp_path / "out/model.onnx").graph.initializer}
    assert onnx.TensorProto.BFLOAT16 in types


def test_a_graph_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch):
    source = saved(tmp_path / "in", "gpt2")
    assert export.FORMAT.bounds["F32"] == 1e-4
    monkeypatch.setitem(export.FORMAT.bounds, "F32", 1e-12)
    with pytest.raises(WorkError, match=r"differs from the model's by .* \(allowed: 1e-12\)"):
        convert(source, tmp_path / "out", to="onnx")
    assert not (tmp_path / "out").exists()


def test_quantized_weights_are_refused(tmp_path):
    source = saved(tmp_path / "in", "llama")
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(WorkError, match="quantized weights cannot be exported to ONNX"):
        convert(source, tmp_path / "out", to="onnx")
