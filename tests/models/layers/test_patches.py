"""Positions of patches, resized."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.models.parity import assert_close
from tfcli.models.layers.patches import positions_of_shapes, resized_positions


def table(side: int, size: int = 6) -> torch.Tensor:
    return torch.randn(side * side, size, generator=torch.Generator().manual_seed(0))


def square(values: torch.Tensor, side: int) -> torch.Tensor:
    """[side * side, d] -> [1, d, side, side]"""
    return values.unflatten(0, (side, side)).permute(2, 0, 1)[None]


def test_positions_of_each_shape_are_those_of_interpolate():
    """Smaller, larger, the same, and lines; what is left of a row has the first position."""
    values, shapes = table(7), torch.tensor([[3, 5], [9, 2], [7, 7], [1, 20], [20, 1], [12, 11]])
    found = positions_of_shapes(values, shapes, 140)
    for row, (height, width) in zip(found, shapes.tolist(), strict=True):
        # In two steps: asked for a single column, torch 2.13 gives all of its rows the same values.
        tall = F.interpolate(square(values, 7), (height, 7), mode="bilinear", antialias=True)
        resized = F.interpolate(tall, (height, width), mode="bilinear", antialias=True)
        count = height * width
        assert_close(row[:count], resized[0].flatten(1).t())
        assert_close(row[count:], row[:1].expand(140 - count, -1))


def test_a_table_of_the_right_size_is_taken_as_it_is():
    values = table(5)
    assert resized_positions(values, 5, 5) is values
    assert_close(positions_of_shapes(values, torch.tensor([[5, 5]]), 25)[0], values)


def test_shapes_are_no_part_of_a_compiled_graph():
    torch._dynamo.reset()
    compiled = torch.compile(positions_of_shapes, backend="eager", fullgraph=True)
    values = table(4)
    for shape in ([2, 3], [5, 1]):
        shapes = torch.tensor([shape])
        assert_close(compiled(values, shapes, 6), positions_of_shapes(values, shapes, 6))
