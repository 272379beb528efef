"""Which inputs a graph has, and what a refusal says."""

from __future__ import annotations

import pytest

from tests.models.tiny import TEXT, tiny_model
from tfcli.convert.exports import executorch
from tfcli.convert.exports.graph import Graph, refusals, trace
from tfcli.convert.exports.inputs import Shape, batch, described
from tfcli.errors import WorkError

pytestmark = pytest.mark.families

BATCH = "[batch_size, sequence_length]"


@pytest.mark.parametrize(
    ("model_type", "task", "more"),
    [
        ("llama", "causal-lm", {}),
        ("bert", "masked-lm", {"token_type_ids": BATCH}),
        ("layoutlm", "masked-lm", {"bbox": "[batch_size, sequence_length, 4]"}),
        ("tapas", "masked-lm", {"token_type_ids": "[batch_size, sequence_length, 7]"}),
        ("glm", "causal-lm", {"prefix_lengths": "[batch_size]"}),
    ],
)
def test_inputs_follow_from_the_family(model_type, task, more):
    found = described(tiny_model(model_type, task))
    assert found.items() >= {"input_ids": BATCH, "attention_mask": BATCH}.items() | more.items()


def test_segments_of_one_kind_are_no_input():
    assert "token_type_ids" not in described(tiny_model("roberta", type_vocab_size=1))
    assert "token_type_ids" in described(tiny_model("roberta", type_vocab_size=2))


def test_a_source_and_its_target_have_lengths_of_their_own():
    assert described(tiny_model("t5")) == {
        "input_ids": "[batch_size, encoder_sequence_length]",
        "attention_mask": "[batch_size, encoder_sequence_length]",
        "decoder_input_ids": "[batch_size, decoder_sequence_length]",
    }
    assert "decoder_input_ids" not in described(tiny_model("bart", "sequence-classification"))


def test_every_input_that_a_family_takes_can_be_given():
    known = set(Graph.forward.__annotations__)
    for model_type in TEXT:
        assert batch(tiny_model(model_type), Shape(2, 5), seed=0).keys() <= known


def test_padding_is_on_both_sides():
    inputs = batch(tiny_model("gpt2"), Shape(3, 6, left=1, right=2), seed=0)
    assert inputs["attention_mask"].tolist() == [[0, 1, 1, 1, 1, 1], [1] * 6, [1, 1, 1, 1, 0, 0]]


def test_what_no_graph_can_hold_is_an_error_for_people():
    def peek(module, args, given):
        if int(given["input_ids"].sum()) < 0:
            raise ValueError("no ids")

    graph = Graph(tiny_model("gpt2")).eval()
    graph.model.register_forward_pre_hook(peek, with_kwargs=True)
    with (
        pytest.raises(WorkError, match=r"gpt2 cannot be exported to ONNX: .*data-dependent"),
        refusals("gpt2", "ONNX"),
    ):
        trace(graph)


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr("tfcli.convert.exports.formats.find_spec", lambda name: None)
    with pytest.raises(WorkError, match="ExecuTorch needs the package executorch") as refused:
        executorch.FORMAT.require()
    assert refused.value.fix == "pip install 'tfcli[executorch]'"
