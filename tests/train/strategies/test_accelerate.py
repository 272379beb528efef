"""Config files as `accelerate config` writes them, and as keys of a recipe."""

from __future__ import annotations

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig

from tfcli.errors import UsageError
from tfcli.process_group import ALONE
from tfcli.train.strategies.accelerate import read_accelerate, with_accelerate
from tfcli.train.strategies.registry import pick_strategy

FSDP = {
    "fsdp_activation_checkpointing": False,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_cpu_ram_efficient_loading": True,
    "fsdp_offload_params": False,
    "fsdp_reshard_after_forward": True,
    "fsdp_state_dict_type": "SHARDED_STATE_DICT",
    "fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer",
    "fsdp_version": 2,
}


@pytest.fixture
def config(tmp_path):
    """A function that writes a config file as accelerate itself does."""

    def write(kind, precision="no", **changes):
        made = ClusterConfig(
            compute_environment="LOCAL_MACHINE",
            distributed_type=kind,
            mixed_precision=precision,
            use_cpu=False,
            debug=False,
            num_processes=changes.pop("num_processes", 2),
            **changes,
        )
        path = tmp_path / "accelerate.yaml"
        made.to_yaml_file(path)
        return path

    return write


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("NO", {"num_processes": 1}, {"strategy": "single"}),
        ("MULTI_GPU", {}, {"strategy": "ddp"}),
        ("MULTI_CPU", {}, {"strategy": "ddp", "device": "cpu"}),
        ("FSDP", {"fsdp_config": FSDP}, {"strategy": "fsdp", "fsdp.shard": "full"}),
        (
            "FSDP",
            {
                "fsdp_config": {
                    "fsdp_version": 1,
                    "fsdp_sharding_strategy": "HYBRID_SHARD",
                    "fsdp_auto_wrap_policy": "SIZE_BASED_WRAP",
                    "fsdp_min_num_params": 1000,
                    "fsdp_offload_params": True,
                    "fsdp_activation_checkpointing": True,
                    "fsdp_backward_prefetch": "BACKWARD_PRE",
                    "fsdp_forward_prefetch": False,
                    "fsdp_use_orig_params": True,
                },
                "num_processes": 8,
                "num_machines": 2,
            },
            {
                "strategy": "fsdp",
                "fsdp.shard": "full",
                "fsdp.group_size": 4,
                "fsdp.min_parameters": 1000,
                "fsdp.cpu_offload": True,
                "activation_checkpointing": True,
            },
        ),
        (
            "FSDP",
            {
                "fsdp_config": {**FSDP, "fsdp_reshard_after_forward": False},
                "parallelism_config": {
                    "parallelism_config_tp_size": 2,
                    "parallelism_config_dp_shard_size": 4,
                    "parallelism_config_dp_replicate_size": 1,
                    "parallelism_config_cp_size": 1,
                },
                "num_processes": 8,
            },
            {"strategy": "tp", "tp.size": 2, "fsdp.shard": "grad-op"},
        ),
        (
            "DEEPSPEED",
            {
                "deepspeed_config": {
                    "zero_stage": 3,
                    "offload_optimizer_device": "cpu",
                    "offload_param_device": "nvme",
                    "offload_param_nvme_path": "/fast",
                    "gradient_accumulation_steps": 4,
                    "gradient_clipping": 0.5,
                    "zero3_init_flag": True,
                    "zero3_save_16bit_model": True,
                    "deepspeed_multinode_launcher": "standard",
                }
            },
            {
                "strategy": "zero3",
                "deepspeed.offload_optimizer": "cpu",
                "deepspeed.offload_weights": "nvme",
                "deepspeed.nvme_path": "/fast",
                "gradient_accumulation": 4,
                "clip_norm": 0.5,
            },
        ),
        (
            "MULTI_GPU",
            {"dynamo_config": {"dynamo_backend": "INDUCTOR", "dynamo_mode": "default"}},
            {"strategy": "ddp", "compile": True},
        ),
    ],
)
def test_what_a_file_stands_for(config, kind, changes, expected):
    path = config(kind, **changes)
    found = read_accelerate(path, changes.get("num_processes", 2))
    assert found == {"precision": "float32", **expected}


def test_mixed_precision_gathers_halves(config):
    found = read_accelerate(config("FSDP", "bf16", fsdp_config=FSDP), 2)
    assert found["precision"] == found["fsdp.gather_dtype"] == "bfloat16"


def test_a_config_of_deepspeeds_lies_beside_the_file(config, tmp_path):
    (tmp_path / "ds.json").write_text('{"zero_optimization": {"stage": 3}}')
    path = config("DEEPSPEED", deepspeed_config={"deepspeed_config_file": "ds.json"})
    found = read_accelerate(path, 2)
    assert found["deepspeed.config"] == str(tmp_path / "ds.json")
    assert found["strategy"] == "zero3"


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("MEGATRON_LM", {}, "distributed_type: MEGATRON_LM"),
        ("MULTI_GPU", {"precision": "fp16"}, "mixed_precision: fp16"),
        ("MULTI_GPU", {"num_processes": 4}, "num_processes is 4, and this is one of 2"),
        ("FSDP", {"fsdp_config": {**FSDP, "fsdp_forward_prefetch": True}}, "forward_prefetch"),
        ("FSDP", {"fsdp_config": {**FSDP, "fsdp_auto_wrap_policy": "NO_WRAP"}}, "NO_WRAP"),
        ("FSDP", {"parallelism_config": {"parallelism_config_cp_size": 2}}, "cp_size: 2"),
        ("DEEPSPEED", {"deepspeed_config": {"zero_stage": 0}}, "zero_stage: 0"),
        ("DEEPSPEED", {"deepspeed_config": {"surprise": 1}}, "deepspeed_config.surprise"),
        ("MULTI_GPU", {"dynamo_config": {"dynamo_backend": "EAGER"}}, "dynamo_backend: EAGER"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(config, kind, changes, said):
    with pytest.raises(UsageError, match=said):
        read_accelerate(config(kind, **changes), 2)


def test_a_key_of_no_version_is_refused_by_name(tmp_path):
    path = tmp_path / "accelerate.yaml"
    path.write_text(yaml.dump({"distributed_type": "NO", "num_procs": 2}))
    with pytest.raises(UsageError, match="num_procs: 2"):
        read_accelerate(path, 1)


def test_the_recipe_and_the_file_say_the_same_or_it_is_an_error(make_spec, config):
    path = config("FSDP", fsdp_config=FSDP)
    made = with_accelerate(make_spec(strategy_from=str(path)), 2)
    assert (made.strategy, made.fsdp.shard, made.strategy_from) == ("fsdp", "full", None)
    assert with_accelerate(make_spec(), 2) == make_spec()
    with pytest.raises(UsageError, match="precision is bfloat16, and the file makes it float32"):
        with_accelerate(make_spec(strategy_from=str(path), precision="bfloat16"), 2)
    spread = {"zero_stage": 2, "offload_param_device": "cpu"}
    path = config("DEEPSPEED", deepspeed_config=spread)
    with pytest.raises(UsageError, match="zero3 alone spreads weights"):
        with_accelerate(make_spec(strategy_from=str(path)), 2)
    with pytest.raises(ValueError, match="strategy or strategy_from"):
        make_spec(strategy_from=str(path), strategy="fsdp")


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_a_launcher_that_was_told_something_else_is_believed(make_spec, monkeypatch, kind):
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")
    with pytest.raises(UsageError, match=f"started for {kind}, and strategy: single would run"):
        pick_strategy(make_spec(), ALONE)
