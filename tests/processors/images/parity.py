"""A processor beside transformers' own, which is the same without torchvision."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from tfcli.processors.features import Features


def theirs(name: str, **settings: Any):
    """transformers' processor that works through Pillow."""
    return getattr(transformers, f"{name}Pil")(**settings)


def assert_same(ours: Any, other: Any, images: Any, **given: Any) -> Features:
    """Both give the same names, and tensors that differ by 1e-4 at most. Gives ours."""
    found = ours(images, **given)
    expected = other(images, return_tensors="pt", **given)
    assert set(found) == set(expected)
    for name in expected:
        assert found[name].shape == expected[name].shape, name
        assert torch.is_floating_point(found[name]) == torch.is_floating_point(expected[name])
        torch.testing.assert_close(
            found[name], expected[name], rtol=0, atol=1e-4, check_dtype=False, msg=name
        )
    return found
