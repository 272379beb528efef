"""Config files of accelerate: how they spread a model, as keys of a recipe.

accelerate itself is not used. A key that has no counterpart here is refused by its name; those that
are for accelerate's launcher (addresses, ranks, devices) are the launcher's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tfcli.errors import UsageError
from tfcli.recipe.document import read_document
from tfcli.recipe.validate import build_spec
from tfcli.train.spec import TrainSpec

Keys = dict[str, Any]
"""Keys of a recipe, dotted where they are of a section."""

_LAUNCHERS = (
    "compute_environment",
    "debug",
    "enable_cpu_affinity",
    "gpu_ids",
    "machine_rank",
    "main_process_ip",
    "main_process_port",
    "main_training_function",
    "num_machines",
    "rdzv_backend",
    "rdzv_conf",
    "same_network",
    "tpu_env",
    "tpu_use_cluster",
    "tpu_use_sudo",
    "mpirun_config",
)
"""What the launcher alone reads."""
_NO: tuple[Any, ...] = (None, False, "no", "NO", "none", "NONE", "null", "", [], {})
_AS_ALWAYS: dict[str, tuple[Any, ...]] = {
    # What cannot be otherwise here, and what a file may say of it.
    "fsdp_version": (1, 2),
    "fsdp_backward_prefetch": ("BACKWARD_PRE",),
    "fsdp_backward_prefetch_policy": ("BACKWARD_PRE",),
    "fsdp_cpu_ram_efficient_loading": (True, False),  # each process reads its own parts
    "fsdp_sync_module_states": (True, False),
    "fsdp_use_orig_params": (True, False),
    "fsdp_state_dict_type": ("FULL_STATE_DICT", "SHARDED_STATE_DICT"),  # both are written
    "zero3_init_flag": (True, False),
    "zero3_save_16bit_model": (True, False),  # `dtype` says what is written
    "deepspeed_multinode_launcher": ("standard", "pdsh", "openmpi", "mvapich"),
    "dynamo_mode": ("default",),
    "parallelism_config_cp_size": (1,),
    "parallelism_config_sp_size": (1,),
}


def with_accelerate(spec: TrainSpec, processes: int) -> TrainSpec:
    """A spec with what the config file that it names says.

    Args:
        spec: with or without `strategy_from`.
        processes: that were started.

    Raises:
        UsageError: a key without a counterpart; another number of processes; a value that the
            recipe says otherwise.
    """
    if spec.strategy_from is None:
        return spec
    path = spec.strategy_from
    keys = read_accelerate(Path(path), processes)
    said = spec.model_dump(exclude_unset=True)
    del said["strategy_from"]
    for name, value in keys.items():
        *sections, key = name.split(".")
        place = said
        for section in sections:
            place = place.setdefault(section, {})
        if place.setdefault(key, value) != value:
            raise UsageError(
                f"the recipe's {name} is {place[key]}, and the file makes it {value}",
                where=path,
                fix=f"leave {name} out of the recipe, or change one of the two",
            )
    return build_spec(TrainSpec, said)


def read_accelerate(path: Path, processes: int) -> Keys:
    """The keys of a recipe that a config file stands for; errors as in `with_accelerate`."""
    values = dict(read_document(path).values)
    where = str(path)
    wanted = values.pop("num_processes", processes)
    if wanted not in (processes, -1):
        raise UsageError(
            f"num_processes is {wanted}, and this is one of {processes} that were started",
            where=where,
            fix=f"start {wanted} (torchrun --nproc-per-node {wanted}), or change the file",
        )
    machines = values.get("num_machines", 1)
    found = dict(_of_all(values, where, processes // max(1, machines)))
    for name in [name for name, value in values.items() if name in _LAUNCHERS or value in _NO]:
        del values[name]
    _require_known(values, "", where)
    return found


def _of_all(values: Keys, where: str, a_machine: int) -> Iterator[tuple[str, Any]]:
    """The recipe's keys, with each key of the file that they are made of taken out."""
    kind = str(values.pop("distributed_type", "NO"))
    parts: dict[str, Keys] = {
        name: dict(values.pop(name, None) or {})
        for name in ("fsdp_config", "deepspeed_config", "dynamo_config", "parallelism_config")
    }
    precision = _precision(values.pop("mixed_precision", None), where)
    yield "precision", precision
    if values.pop("use_cpu", False) is True or kind == "MULTI_CPU":
        yield "device", "cpu"
    if kind == "DEEPSPEED":
        yield from _of_deepspeed(parts["deepspeed_config"], where)
    elif kind == "FSDP":
        yield from _of_fsdp(parts["fsdp_config"], where, a_machine)
        if precision == "bfloat16":
            yield "fsdp.gather_dtype", "bfloat16"
        yield from _of_grid(parts["parallelism_config"])
    elif kind.startswith("MULTI_") or kind == "NO":
        yield "strategy", "ddp" if kind != "NO" else "single"
    else:
        raise _unknown("distributed_type", kind, where)
    backend = parts["dynamo_config"].pop("dynamo_backend", "NO")
    if backend not in _NO:
        yield "compile", _one_of({"INDUCTOR": True}, "dynamo_backend", backend, where)
    for name, left in parts.items():
        _require_known(left, f"{name}.", where)


def _of_fsdp(part: Keys, where: str, a_machine: int) -> Iterator[tuple[str, Any]]:
    how = part.pop("fsdp_sharding_strategy", None)
    again = part.pop("fsdp_reshard_after_forward", None)
    if isinstance(again, str) and how is None:  # accelerate's own spelling of the older key
        how = again if again.lower() not in ("true", "false") else None
        again = again.lower() == "true" if how is None else None
    known = {
        **dict.fromkeys(("FULL_SHARD", 1, "1"), "full"),
        **dict.fromkeys(("SHARD_GRAD_OP", 2, "2"), "grad-op"),
        **dict.fromkeys(("NO_SHARD", 3, "3"), "none"),
        **dict.fromkeys(("HYBRID_SHARD", 4, "4"), "full"),
        **dict.fromkeys(("HYBRID_SHARD_ZERO2", 5, "5"), "grad-op"),
    }
    yield "strategy", "fsdp"
    if how is not None:
        yield "fsdp.shard", _one_of(known, "fsdp_sharding_strategy", how, where)
        if how in ("HYBRID_SHARD", "HYBRID_SHARD_ZERO2", 4, 5, "4", "5"):
            yield "fsdp.group_size", a_machine
    elif again is not None:
        yield "fsdp.shard", "full" if again else "grad-op"
    wrap = part.pop("fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP")
    least = part.pop("fsdp_min_num_params", None)
    part.pop("fsdp_transformer_layer_cls_to_wrap", None)  # the family's blocks
    if _one_of({"TRANSFORMER_BASED_WRAP": False, "SIZE_BASED_WRAP": True},
               "fsdp_auto_wrap_policy", wrap, where):  # fmt: skip
        yield "fsdp.min_parameters", least
    if part.pop("fsdp_offload_params", False):
        yield "fsdp.cpu_offload", True
    if part.pop("fsdp_activation_checkpointing", False):
        yield "activation_checkpointing", True


def _of_grid(part: Keys) -> Iterator[tuple[str, Any]]:
    sizes = {
        name: part.pop(f"parallelism_config_{name}_size", 1)
        for name in ("tp", "dp_replicate", "dp_shard")
    }
    if sizes["tp"] > 1:
        yield "strategy", "tp"
        yield "tp.size", sizes["tp"]
    if sizes["dp_replicate"] > 1 and sizes["dp_shard"] > 1:
        yield "fsdp.group_size", sizes["dp_shard"]
    elif sizes["dp_replicate"] > 1:
        yield "fsdp.shard", "none"


def _of_deepspeed(part: Keys, where: str) -> Iterator[tuple[str, Any]]:
    stage = part.pop("zero_stage", None)
    config = part.pop("deepspeed_config_file", None)
    if config is not None:
        from tfcli.train.strategies.engine_config import stage_of

        path = str(Path(where).parent / config)
        yield "deepspeed.config", path
        stage = stage_of(path) if stage is None else stage
    stage = 2 if stage is None else stage  # accelerate's default
    known = {1: "zero1", 2: "zero2", 3: "zero3"}
    yield "strategy", _one_of(known, "deepspeed_config.zero_stage", stage, where)
    paths = set()
    for name, key in (("optimizer", "offload_optimizer"), ("param", "offload_weights")):
        place = part.pop(f"offload_{name}_device", None)
        folder = part.pop(f"offload_{name}_nvme_path", None)
        if place not in _NO:
            yield f"deepspeed.{key}", place
        if place == "nvme":
            paths.add(folder)
    if len(paths) > 1:
        raise UsageError("two folders for what is kept in files", where=where, fix="take one")
    if paths:
        yield "deepspeed.nvme_path", paths.pop()
    for theirs, ours in (
        ("gradient_clipping", "clip_norm"),
        ("gradient_accumulation_steps", "gradient_accumulation"),
    ):
        value = part.pop(theirs, "auto")
        if value not in ("auto", None):
            yield ours, value


def _precision(value: object, where: str) -> str:
    if value in _NO:
        return "float32"
    return str(_one_of({"bf16": "bfloat16"}, "mixed_precision", value, where))


def _one_of(known: Mapping[Any, Any], key: str, value: Any, where: str) -> Any:
    if value not in known:
        raise _unknown(key, value, where)
    return known[value]


def _require_known(values: Mapping[str, Any], section: str, where: str) -> None:
    for key, value in values.items():
        if value not in _NO and value not in _AS_ALWAYS.get(key, ()):
            raise _unknown(section + key, value, where)


def _unknown(key: str, value: Any, where: str) -> UsageError:
    return UsageError(
        f"{key}: {value} has no counterpart here",
        where=where,
        fix="leave it out, or say in the recipe what is wanted (docs/strategies.md)",
    )


_ENVIRONMENT: dict[str, Callable[[str], bool]] = {
    "ACCELERATE_USE_FSDP": lambda name: name in ("fsdp", "tp"),
    "ACCELERATE_USE_DEEPSPEED": lambda name: name.startswith("zero"),
}
"""What accelerate's launcher sets -> whether a strategy is what it stands for."""


def require_launchers_agree(name: str) -> None:
    """Refuse to run another strategy than accelerate's launcher was told.

    Args:
        name: of the strategy that runs.

    Raises:
        UsageError: naming the launcher's.
    """
    for variable, fits in _ENVIRONMENT.items():
        if os.environ.get(variable, "").lower() == "true" and not fits(name):
            kind = variable.removeprefix("ACCELERATE_USE_")
            raise UsageError(
                f"accelerate's launcher was started for {kind}, and strategy: {name} would run",
                where="strategy",
                fix="name its config file (strategy_from), or a strategy that is the same",
            )
