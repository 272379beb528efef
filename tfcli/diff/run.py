"""`tfcli diff`: two checkpoints side by side, one tensor of each at a time; no model is built."""

from __future__ import annotations

from typing import Any

from tfcli.checkpoints.checkpoint import Checkpoint
from tfcli.checkpoints.containers import BY_NAME
from tfcli.checkpoints.io.memory import freed_at_once
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.checkpoints.strict_json import short
from tfcli.diff.compare import compare_configs, distance
from tfcli.diff.side import comparable, open_side, stored_name
from tfcli.diff.spec import DiffResult, DiffSpec, TensorDifference, TieDifference
from tfcli.errors import UsageError, WorkError
from tfcli.hub import resolve
from tfcli.recipe.job import Job


def run(spec: DiffSpec, job: Job) -> DiffResult:
    """Compare two checkpoints.

    Raises:
        UsageError: no such file, folder or hub model.
        WorkError: a broken file, or a difference above `spec.fail_above`.
    """
    config_from = None if spec.config_from is None else resolve(spec.config_from)
    a, b = (open_side(resolve(ref), config_from) for ref in (spec.a, spec.b))
    if config_from is not None and not any(BY_NAME[s.container].takes_config for s in (a, b)):
        raise UsageError(
            "both checkpoints bring what there is of a config",
            where="config_from",
            fix="leave it out; it is for "
            + ", ".join(name for name, one in BY_NAME.items() if one.takes_config),
        )
    names = list(dict.fromkeys([*a.tensors, *b.tensors]))
    tensors = []
    with freed_at_once(), job.console.progress("comparing", len(names), "tensors") as bar:
        for name in names:
            tensors.append(_compare(name, a, b))
            bar.advance()
    if spec.fail_above is not None:
        _require_near(tensors, spec.fail_above)
    configs = comparable(a, b)
    config = compare_configs(*configs) if configs else []
    ties = [
        TieDifference(name=name, a=a.ties.get(name), b=b.ties.get(name))
        for name in dict.fromkeys([*a.ties, *b.ties])
        if configs and a.ties.get(name) != b.ties.get(name)
    ]
    apart = [t for t in tensors if t.max_difference is not None]
    statuses = [tensor.status for tensor in tensors]
    return DiffResult(
        kind_a=a.container,
        kind_b=b.container,
        identical=set(statuses) <= {"equal"} and not config and not ties,
        equal=statuses.count("equal"),
        different=statuses.count("different"),
        shapes=statuses.count("shape"),
        only_a=statuses.count("only_a"),
        only_b=statuses.count("only_b"),
        max_difference=max((t.max_difference or 0.0 for t in apart), default=None),
        relative_difference=max((_relative(t) for t in apart), default=None),
        config_compared=configs is not None,
        config=config,
        ties=ties,
        tensors=tensors,
    )


def _compare(name: str, a: Checkpoint, b: Checkpoint) -> TensorDifference:
    stored_a, stored_b = stored_name(a, name), stored_name(b, name)
    one = a.tensors[stored_a] if stored_a else None
    other = b.tensors[stored_b] if stored_b else None
    facts: dict[str, Any] = {
        "name": name,
        "dtype_a": one.dtype if one else None,
        "dtype_b": other.dtype if other else None,
        "shape_a": list(one.shape) if one else None,
        "shape_b": list(other.shape) if other else None,
        "stored_a": stored_a if stored_a != name else None,
        "stored_b": stored_b if stored_b != name else None,
        "how_a": one.how if one else "",
        "how_b": other.how if other else "",
    }
    if one is None or other is None:
        return TensorDifference(status="only_b" if one is None else "only_a", **facts)
    if facts["shape_a"] != facts["shape_b"]:
        return TensorDifference(status="shape", **facts)
    first, second = one.values, other.values
    if first.shape == second.shape and same_bits(first, second):
        numbers = {"changed": 0, "not_finite": 0, "max_difference": 0.0, "relative_difference": 0.0}
        return TensorDifference(status="equal", **facts, **numbers)
    # Packed types count their elements in another way than torch does.
    found = distance(first, second) if first.shape == second.shape else None
    if found is None:
        return TensorDifference(status="different", **facts)
    return TensorDifference(
        status="different",
        **facts,
        changed=found.changed,
        max_difference=found.largest,
        relative_difference=found.relative,
        not_finite=found.not_finite,
    )


def _require_near(tensors: list[TensorDifference], limit: float) -> None:
    """Raise a WorkError that names the tensor that is furthest off, if any is too far."""
    far = [tensor for tensor in tensors if _is_far(tensor, limit)]
    if not far:
        return
    worst = max(far, key=lambda tensor: (tensor.relative_difference is None, _relative(tensor)))
    reasons = {
        "only_a": "is missing in B",
        "only_b": "is missing in A",
        "shape": f"has the shape {worst.shape_a} in A and {worst.shape_b} in B",
    }
    reason = reasons.get(worst.status, f"differs by {_relative(worst):.3g}")
    if worst.not_finite:
        reason = f"is NaN or infinite on one side, in {worst.not_finite} places"
    elif worst.status == "different" and worst.relative_difference is None:
        reason = f"differs, and values of {worst.dtype_a} and {worst.dtype_b} have no distance"
    raise WorkError(
        f"{len(far)} of {len(tensors)} tensors differ by more than {limit:g}: "
        f"{short(worst.name)} {reason}",
        where="fail_above",
        fix="leave fail_above out to see every difference",
    )


def _is_far(tensor: TensorDifference, limit: float) -> bool:
    if tensor.status == "equal":
        return False
    return (
        tensor.relative_difference is None or bool(tensor.not_finite) or _relative(tensor) > limit
    )


def _relative(tensor: TensorDifference) -> float:
    return tensor.relative_difference or 0.0
