"""`tfcli diff`: every difference named, measured in pieces, and a limit that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints.models import LLAMA, tiny
from tfcli.checkpoints.folder import save_model
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.io import tensor_pieces as pieces
from tfcli.diff.compare import compare_configs, distance
from tfcli.diff.run import run
from tfcli.diff.spec import DiffResult, DiffSpec, TensorDifference
from tfcli.errors import UsageError, WorkError
from tfcli.recipe.job import Job

NAN, INF = float("nan"), float("inf")


def weights(path: Path, **tensors: torch.Tensor) -> Path:
    pending = [PendingTensor.of(name.replace("__", "."), t) for name, t in tensors.items()]
    write_safetensors(path, pending)
    return path


def diff(a: Path, b: Path, **options: Any) -> DiffResult:
    return run(DiffSpec(a=str(a), b=str(b), **options), Job())


def one(tmp_path: Path, a: torch.Tensor, b: torch.Tensor) -> TensorDifference:
    """What is said of one tensor that both sides have."""
    found = diff(weights(tmp_path / "a.safetensors", w=a), weights(tmp_path / "b.safetensors", w=b))
    (tensor,) = found.tensors
    return tensor


def model(folder: Path, **changes: Any) -> Path:
    save_model(tiny({**LLAMA, **changes}), folder)
    return folder


def test_a_checkpoint_is_identical_to_its_copy_in_other_shards(tmp_path: Path) -> None:
    a = model(tmp_path / "a")
    save_model(tiny(LLAMA), tmp_path / "b", max_shard_bytes=20_000)
    result = diff(a, tmp_path / "b")
    assert result.identical
    assert (result.equal, result.different) == (len(result.tensors), 0)
    assert (result.max_difference, result.relative_difference) == (0.0, 0.0)


def test_the_largest_differences(tmp_path: Path) -> None:
    a = torch.tensor([[1.0, -8.0], [2.0, 0.0]])
    b = torch.tensor([[1.0, -8.0], [2.5, 0.125]])
    found = one(tmp_path, a, b)
    assert found.status == "different"
    assert (found.changed, found.max_difference, found.relative_difference) == (2, 0.5, 0.5 / 8)
    assert found.not_finite == 0


def test_every_piece_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 4)
    a = torch.ones(11)
    b = a.clone()
    b[5], b[10] = 3.0, 1.25  # neither in the first piece nor the larger one in the last
    found = one(tmp_path, a, b)
    assert (found.changed, found.max_difference, found.relative_difference) == (2, 2.0, 2 / 3)


def test_another_type_with_the_same_values_is_a_difference_of_zero(tmp_path: Path) -> None:
    found = one(tmp_path, torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]).bfloat16())
    assert (found.status, found.dtype_a, found.dtype_b) == ("different", "F32", "BF16")
    assert (found.changed, found.relative_difference) == (0, 0.0)


def test_zeros_of_two_signs_are_not_equal_and_not_apart(tmp_path: Path) -> None:
    found = one(tmp_path, torch.tensor([0.0]), torch.tensor([-0.0]))
    assert (found.status, found.changed, found.relative_difference) == ("different", 0, 0.0)


@pytest.mark.parametrize(
    ("a", "b", "apart", "largest"),
    [
        ([NAN, 1.0], [NAN, 2.0], 0, 1.0),
        ([INF, 1.0], [INF, 2.0], 0, 1.0),
        ([NAN, 1.0], [0.0, 1.0], 1, 0.0),
        ([INF, 1.0], [-INF, 1.0], 1, 0.0),
        ([NAN], [1.0], 1, 0.0),
    ],
)
def test_numbers_that_are_not_finite(
    tmp_path: Path, a: list[float], b: list[float], apart: int, largest: float
) -> None:
    found = one(tmp_path, torch.tensor(a), torch.tensor(b))
    assert (found.not_finite, found.max_difference) == (apart, largest)


def test_the_ends_of_fp32_and_of_integers(tmp_path: Path) -> None:
    top = torch.finfo(torch.float32).max
    assert one(tmp_path, torch.tensor([top]), torch.tensor([-top])).relative_difference == 2.0
    big = 1 << 40
    found = one(tmp_path, torch.tensor([big, 0]), torch.tensor([big + 1, 0]))
    assert (found.max_difference, found.changed) == (1.0, 1)


@pytest.mark.parametrize(
    ("a", "b", "gap"),
    [
        (2**53, 2**53 + 1, 1),
        (-(2**63), -(2**63) + 1, 1),
        (-(2**63), 2**63 - 1, 2**64 - 1),
        (2**62 + 3, 2**62, 3),
    ],
)
def test_integers_are_compared_as_integers_to_the_ends_of_their_type(
    tmp_path: Path, a: int, b: int, gap: int
) -> None:
    found = one(tmp_path, torch.tensor([a, 5]), torch.tensor([b, 5]))
    assert (found.status, found.changed, found.max_difference) == ("different", 1, float(gap))
    unsigned = [torch.tensor([x + 2**63, 5], dtype=torch.uint64) for x in (a, b)]
    found = one(tmp_path, *unsigned)
    assert (found.changed, found.max_difference) == (1, float(gap))
    mixed = distance(torch.tensor([2**53]), torch.tensor([2**53 + 1], dtype=torch.uint64))
    assert mixed is not None and mixed.changed == 1


@pytest.mark.parametrize("kind", [torch.bool, torch.float8_e4m3fn, torch.uint16, torch.float64])
def test_types_beyond_the_plain_ones(tmp_path: Path, kind: torch.dtype) -> None:
    found = one(tmp_path, torch.tensor([1.0, 0.0]).to(kind), torch.tensor([1.0, 1.0]).to(kind))
    assert (found.changed, found.max_difference) == (1, 1.0)


def test_types_without_arithmetic_are_compared_by_their_bits(tmp_path: Path) -> None:
    a = torch.tensor([1, 2], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    b = torch.tensor([1, 3], dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    assert distance(a, b) is None
    assert one(tmp_path, a, a).status == "equal"
    found = one(tmp_path, a, b)
    assert (found.status, found.relative_difference) == ("different", None)


def test_missing_tensors_and_other_shapes(tmp_path: Path) -> None:
    a = weights(tmp_path / "a.safetensors", x=torch.ones(2), y=torch.ones(2), z=torch.ones(2))
    b = weights(tmp_path / "b.safetensors", w=torch.ones(1), y=torch.ones(3), z=torch.ones(2))
    result = diff(a, b)
    assert [(t.name, t.status) for t in result.tensors] == [
        ("x", "only_a"),
        ("y", "shape"),
        ("z", "equal"),
        ("w", "only_b"),
    ]
    assert (result.only_a, result.only_b, result.shapes, result.equal) == (1, 1, 1, 1)
    assert (result.tensors[1].shape_a, result.tensors[1].shape_b) == ([2], [3])
    assert not result.identical
    assert not result.config_compared


def test_a_tied_tensor_is_compared_with_what_it_is_tied_to(tmp_path: Path) -> None:
    a = model(tmp_path / "a", tie_word_embeddings=True)
    b = model(tmp_path / "b", tie_word_embeddings=False)
    result = diff(a, b)
    assert [(t.name, t.a, t.b) for t in result.ties] == [
        ("lm_head.weight", "model.embed_tokens.weight", None)
    ]
    head = {t.name: t for t in result.tensors}["lm_head.weight"]
    assert (head.status, head.stored_a, head.stored_b) == (
        "different",
        "model.embed_tokens.weight",
        None,
    )
    assert (result.only_a, result.only_b) == (0, 0)
    assert [item.key for item in result.config] == ["tie_word_embeddings"]


def test_keys_of_the_config(tmp_path: Path) -> None:
    a = {"same": [1], "theta": 10000.0, "deep": {"x": 1, "y": {}}, "gone": None, "kind": 1}
    b = {"same": [1], "theta": 10000, "deep": {"x": 2, "y": {}}, "new": 3, "kind": True}
    found = [(item.key, item.only, item.a, item.b) for item in compare_configs(a, b)]
    assert found == [
        ("deep.x", None, 1, 2),
        ("gone", "a", None, None),
        ("kind", None, 1, True),
        ("new", "b", None, 3),
    ]


def test_a_config_alone_makes_two_checkpoints_different(tmp_path: Path) -> None:
    a, b = model(tmp_path / "a"), model(tmp_path / "b")
    config = json.loads((b / "config.json").read_text())
    (b / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    result = diff(a, b)
    assert result.equal == len(result.tensors)
    assert not result.identical


def test_fail_above(tmp_path: Path) -> None:
    a = weights(tmp_path / "a.safetensors", x=torch.tensor([1.0, 4.0]), y=torch.ones(1))
    b = weights(tmp_path / "b.safetensors", x=torch.tensor([1.0, 3.0]), y=torch.ones(1).half())
    assert diff(a, b, fail_above=0.25).relative_difference == 0.25
    with pytest.raises(WorkError, match=r"1 of 2 tensors differ by more than 0\.2: 'x' .* by 0.25"):
        diff(a, b, fail_above=0.2)


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ({"x": torch.ones(1)}, {"x": torch.ones(1), "y": torch.ones(1)}, "'y' is missing in A"),
        ({"x": torch.ones(1), "y": torch.ones(1)}, {"x": torch.ones(1)}, "'y' is missing in B"),
        ({"x": torch.ones(1)}, {"x": torch.ones(2)}, r"'x' has the shape \[1\] in A and \[2\]"),
        ({"x": torch.ones(1)}, {"x": torch.tensor([NAN])}, "'x' is NaN or infinite on one side"),
    ],
)
def test_what_no_limit_allows(
    tmp_path: Path, a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], reason: str
) -> None:
    one, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    with pytest.raises(WorkError, match=reason):
        diff(weights(one, **a), weights(other, **b), fail_above=2)


def test_sides_that_cannot_be_read(tmp_path: Path) -> None:
    a = weights(tmp_path / "a.safetensors", x=torch.ones(1))
    with pytest.raises(UsageError, match="no such file or folder"):
        diff(a, tmp_path / "gone")
    with pytest.raises(WorkError, match=str(tmp_path)):
        diff(a, tmp_path)
