"""Which files of a folder are its weights, by whatever names tools give them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.checkpoints.in_memory import assert_same, held, written
from tests.checkpoints.models import tiny
from tests.dequantize.test_dequantize import quantized
from tfcli.checkpoints.containers import open_checkpoint
from tfcli.checkpoints.hf.safetensors import PendingTensor, write_safetensors
from tfcli.checkpoints.hf.source import open_tensors
from tfcli.checkpoints.packed.unpack import method_of, runnable, unpacked
from tfcli.errors import WorkError

COMPLETE = [
    ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    ("model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"),
    ("ft-model-00001-of-00002.safetensors", "ft-model-00002-of-00002.safetensors"),
    ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"),
    ("hf_model_0001_0.pt", "hf_model_0002_0.pt"),
]


def halves(path: Path, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """A folder of one model in two files without an index; its tensors."""
    config, tensors = written(tiny())
    (path / "config.json").write_text(json.dumps(config))
    for number, name in enumerate(names):
        half = {key: tensors[key] for key in list(tensors)[number::2]}
        if name.endswith(".safetensors"):
            write_safetensors(path / name, [PendingTensor.of(*item) for item in half.items()])
        else:
            torch.save(half, path / name)
    return tensors


@pytest.mark.parametrize("names", COMPLETE)
def test_a_complete_set_of_shards_needs_no_index(tmp_path, names):
    tensors = halves(tmp_path, names)
    found = open_checkpoint(tmp_path)
    assert_same(found, {name: tensors[name] for name in found.tensors})
    assert found.tensors.keys() == tensors.keys()


@pytest.mark.parametrize("names", COMPLETE[:-1])
def test_a_set_that_is_not_complete_is_refused_and_so_is_one_shard_alone(tmp_path, names):
    halves(tmp_path, names)
    with pytest.raises(WorkError, match="one of several that a model is in"):
        open_checkpoint(tmp_path / names[0])
    (tmp_path / names[1]).unlink()
    with pytest.raises(WorkError, match=r"neither the others nor model\.safetensors\.index\.json"):
        open_checkpoint(tmp_path)


def test_two_sets_of_shards_are_refused(tmp_path):
    halves(tmp_path, COMPLETE[0])
    halves(tmp_path, COMPLETE[2])
    with pytest.raises(WorkError, match="several sets of shards"):
        open_checkpoint(tmp_path)


def test_a_folder_of_gguf_files_is_told_from_one_without_weights(tmp_path):
    (tmp_path / "a.Q8_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(WorkError, match=r"holds GGUF files and no other weights: a\.Q8_0\.gguf"):
        open_tensors(tmp_path)


@pytest.mark.parametrize(
    ("name", "whose"),
    [("tf_model.h5", "TensorFlow's"), ("flax_model.msgpack", "Flax's"), ("model.onnx", "ONNX")],
)
def test_weights_of_other_frameworks_are_told_from_none(tmp_path, name, whose):
    (tmp_path / name).write_bytes(b"something")
    with pytest.raises(WorkError, match=f"{whose}, which are not read: {name}"):
        open_tensors(tmp_path)


def test_the_folders_of_a_run_are_named_where_the_run_itself_is_given(tmp_path):
    for step in (20, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/config.json").write_text("{}")
    with pytest.raises(WorkError) as refused:
        open_checkpoint(tmp_path)
    assert "checkpoint-100, checkpoint-20" in str(refused.value.fix)


def test_a_config_with_a_byte_order_mark_is_read(tmp_path):
    config, tensors = written(tiny())
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8-sig")
    write_safetensors(
        tmp_path / "model.safetensors", [PendingTensor.of(*item) for item in tensors.items()]
    )
    assert open_checkpoint(tmp_path).config == config


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("file", ["model", "gptq_model-4bit-32g", "of-another-name"])
def test_settings_and_file_of_weights_as_autogptq_writes_them(tmp_path, file, named):
    """With the name in quantize_config.json, or by its default."""
    source = quantized(tmp_path / "q")
    wanted = dict(unpacked(open_checkpoint(source), lambda name: True).weights)
    config = json.loads((source / "config.json").read_text())
    settings = config.pop("quantization_config")
    own = {key: settings[key] for key in ("bits", "group_size", "sym", "desc_act")}
    (source / "config.json").write_text(json.dumps(config))
    if named:
        own["model_file_base_name"] = file
    (source / "quantize_config.json").write_text(json.dumps(own))
    (source / "model.safetensors").rename(source / f"{file}.safetensors")
    if file == "of-another-name" and not named:
        with pytest.raises(WorkError, match="of-another-name"):
            open_checkpoint(source)
        return
    found = open_checkpoint(source)
    assert found.is_quantized
    dense = unpacked(found, lambda name: True)
    assert_same(dense, wanted)


def rewritten(source, tensors):
    """The folder with other tensors."""
    pending = [PendingTensor(t.name, t.dtype, t.shape, t.read) for t in tensors]
    write_safetensors(source / "other.safetensors", pending)
    (source / "other.safetensors").replace(source / "model.safetensors")
    return source


ORDERS = {
    "none": lambda order: [],
    "empty": lambda order: [held({}, {order.name: torch.empty(0).int()}).tensors[order.name]],
    "64 bits": lambda order: [held({}, {order.name: order.read().long()}).tensors[order.name]],
}


@pytest.mark.parametrize("kind", ORDERS)
def test_the_order_of_groups_that_are_runs_of_inputs_may_be_spelt_in_any_way(kind, tmp_path):
    source = quantized(tmp_path / "q")
    wanted = open_checkpoint(source)
    values = {name: wanted.weights[name].clone() for name in wanted.tensors}
    spelt = [
        other
        for tensor in wanted
        for other in (ORDERS[kind](tensor) if tensor.name.endswith(".g_idx") else [tensor])
    ]
    found = open_checkpoint(rewritten(source, spelt))
    assert_same(found, values)
    unpacked(found, lambda name: True)


def test_groups_in_an_order_that_is_lost_are_refused(tmp_path):
    source = quantized(tmp_path / "q")
    rewritten(source, [t for t in open_checkpoint(source) if not t.name.endswith(".g_idx")])
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"]["desc_act"] = True
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(WorkError, match="there is no g_idx"):
        unpacked(open_checkpoint(source), lambda name: True)


def test_packed_weights_that_nothing_describes_are_not_taken_for_dense_ones(tmp_path):
    source = quantized(tmp_path / "q")
    config = json.loads((source / "config.json").read_text())
    del config["quantization_config"]
    (source / "config.json").write_text(json.dumps(config))
    for verb in (method_of, runnable):
        with pytest.raises(WorkError, match="nothing says in how many bits") as refused:
            verb(open_checkpoint(source))
        assert "quantize_config.json" in str(refused.value.fix)
