"""The comparison of a graph with its model finds graphs that answer otherwise."""

from __future__ import annotations

import math

import pytest
import torch

from tests.models.tiny import tiny_model
from tfcli.convert.exports.check import compare, differences, known_answers, spared
from tfcli.convert.exports.graph import Graph
from tfcli.errors import WorkError


@pytest.fixture(scope="module")
def graph():
    return Graph(tiny_model("llama")).eval()


def checked(graph, run, bound=1e-6):
    with torch.no_grad():
        return compare(run, known_answers(graph, rows=None), bound, 0.0, "model.onnx")


def test_the_model_agrees_with_itself(graph):
    agreement = checked(graph, lambda inputs: graph(**inputs))
    assert agreement.outputs == 3 and agreement.largest == 0.0


def test_a_graph_that_does_not_see_the_mask(graph):
    def blind(inputs):
        return graph(**inputs | {"attention_mask": torch.ones_like(inputs["attention_mask"])})

    with pytest.raises(WorkError, match="the graph's logits differs from the model's"):
        checked(graph, blind, bound=1e-2)


def test_a_graph_of_one_length(graph):
    def fixed(inputs):
        return {"logits": graph(**inputs)["logits"][:, :11]}

    with pytest.raises(WorkError, match=r"of shape \(2, 17\) the graph's logits is \(2, 11, 61\)"):
        checked(graph, fixed)


def test_numbers_that_are_none(graph):
    with pytest.raises(WorkError, match="by nan of its largest number"):
        checked(graph, lambda inputs: {"logits": graph(**inputs)["logits"] * torch.nan}, bound=1e9)


def test_a_damaged_model_is_named_before_its_graph(graph):
    broken = tiny_model("gpt2")
    torch.nn.init.constant_(broken.transformer.ln_f.weight, torch.nan)
    with pytest.raises(WorkError, match="the model's logits are not finite"):
        known_answers(Graph(broken), rows=None)


def test_a_few_tokens_of_a_mixture_may_go_elsewhere():
    assert spared(tiny_model("mixtral")) == 0.1
    assert spared(tiny_model("llama")) == 0.0
    expected, found = torch.ones(2, 10, 3), torch.ones(2, 10, 3)
    found[1, 4:6] = 2.0
    assert differences(expected, found, spare=0.1) == (1.0, 0.0)
    found[0, 0] = 1.5
    assert differences(expected, found, spare=0.1) == (1.0, 0.5)
    found[0, 0, 0] = torch.nan
    assert all(math.isnan(each) for each in differences(expected, found, spare=0.1))
