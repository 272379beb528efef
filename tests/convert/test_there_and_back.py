"""Every family in every container that takes it: there and back, bit for bit, names included."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.models.tiny import FIRST, OWN, content
from tfcli.checkpoints.beside import CONFIG
from tfcli.checkpoints.checkpoint import Checkpoint, TensorEntry
from tfcli.checkpoints.container import WriteOptions
from tfcli.checkpoints.containers import TARGETS, open_checkpoint
from tfcli.checkpoints.io.dtypes import dtype_code
from tfcli.checkpoints.io.tensor_pieces import same_bits
from tfcli.checkpoints.original.read import DIALECTS
from tfcli.checkpoints.original.write import write_original
from tfcli.checkpoints.plan import make_plan
from tfcli.checkpoints.ties import config_ties
from tfcli.console import Console
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import Problem
from tfcli.files import write_json
from tfcli.models.loading import build
from tfcli.models.registry import read_config
from tfcli.models.saving import export_config, plan_export
from tfcli.recipe.execute import execute

FAMILIES = sorted([*FIRST, *OWN])
_ALL: dict[str, dict[str, Any]] = {name: {} for name in FAMILIES}
# Which families a container takes, and the settings that it has for them. One that is missing here
# is refused before anything is written: whoever takes a family away, or adds one, changes this.
TAKES: dict[str, dict[str, dict[str, Any]]] = {
    "hf": _ALL,
    "pt": _ALL,
    "dcp": _ALL,
    "meta": {"llama": {}, "mistral": {}},
    "megatron": {"gpt2": {}, "llama": {}},
    "flagai": {
        "bert": {"intermediate_size": 128},
        "glm": {},
        "gpt2": {},
        "t5": {"scale_decoder_outputs": False, "relative_attention_max_distance": 128},
    },
}
_SUBNORMAL = (1, 0x807FFFFF)  # the smallest and the largest
# And -0.0, infinities, and NaN: quiet and signalling, of either sign, with something in the other
# bits.
_SPECIAL = (*_SUBNORMAL, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFC01234)


def values(
    shape: tuple[int, ...], dtype: torch.dtype, seed: int, special: tuple[int, ...]
) -> torch.Tensor:
    """Random values with special ones among them, given as the bits of an fp32 number."""
    generator = torch.Generator().manual_seed(seed)
    if not dtype.is_floating_point:
        return torch.randint(0, 2, shape, generator=generator).to(dtype)
    found = torch.randn(shape, generator=generator).to(dtype)
    if dtype == torch.float32:
        bits = found.view(-1).view(torch.int32)
        chosen = torch.tensor(special).to(torch.int32)[: len(bits)]
        bits[torch.randperm(len(bits), generator=generator)[: len(chosen)]] = chosen
    return found


def held(name: str, value: torch.Tensor) -> dict[str, TensorEntry]:
    """A tensor of a view that is in memory."""
    code = dtype_code(value.dtype)
    return {name: TensorEntry(name, code, tuple(value.shape), (name,), "", lambda: value)}


@functools.cache
def source(
    model_type: str, task: str | None = None, plain: bool = False, **changes: Any
) -> Checkpoint:
    """A checkpoint in memory, of a family's first task unless one is named."""
    model = build(read_config(content(model_type, **changes)), task)
    tensors = {}
    for seed, item in enumerate(plan_export(model)):
        special = _SUBNORMAL if plain else _SPECIAL
        tensors |= held(item.name, values(item.shape, item.dtype, seed, special))
    return Checkpoint("hf", Path(model_type), export_config(model), tensors, ())


def there_and_back(view: Checkpoint, target: str, folder: Path, *, parts: int = 1) -> Checkpoint:
    writer = TARGETS[target].writer
    plan = make_plan(writer.prepare(view), None)
    writer.write(plan, folder, WriteOptions(max_shard_bytes=40_000, parts=parts))
    if not writer.own_config:
        write_json(folder / CONFIG, plan.config)
    return open_checkpoint(folder)


def assert_same(view: Checkpoint, back: Checkpoint) -> None:
    """All names and bits; a tied tensor may come back by both of its names."""
    ties = config_ties(view.config)
    for name in back.tensors.keys() - view.tensors.keys():
        origin = view.tensors[ties[name]]
        assert same_bits(back.tensors[name].read(), origin.read()), name
    assert view.tensors.keys() <= back.tensors.keys()
    for name, tensor in view.tensors.items():
        found = back.tensors[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape), name
        assert same_bits(found.read(), tensor.read()), name


# GGUF's families, each with the settings that llama.cpp has.
GGUF: dict[str, dict[str, Any]] = {
    "bert": {"task": "embedding"},  # it has no place for heads
    # Norms go through a sum, which knows no sign of zero and nothing of what is no number.
    "gemma": {"plain": True},
    "gemma2": {"plain": True, "query_pre_attn_scalar": 16},
    "gemma3_text": {"plain": True, "query_pre_attn_scalar": 16, "sliding_window_pattern": 6},
    "gpt2": {},
    "gpt_neox": {},
    "llama": {},
    "mistral": {},
    "mixtral": {},
    "phi3": {},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": {"norm_topk_prob": True},
    "starcoder2": {},
}


def test_every_container_of_tensors_is_here():
    assert TAKES.keys() == TARGETS.keys()


@pytest.mark.families
@pytest.mark.parametrize(
    ("target", "model_type"), [(target, name) for target in TAKES for name in TAKES[target]]
)
def test_there_and_back(tmp_path, target, model_type):
    view = source(model_type, **TAKES[target][model_type])
    assert_same(view, there_and_back(view, target, tmp_path))


@pytest.mark.families
@pytest.mark.parametrize("target", [target for target in TAKES if TAKES[target] is not _ALL])
def test_every_family_that_a_container_does_not_take_is_refused(target):
    for model_type in FAMILIES:
        if model_type not in TAKES[target]:
            with pytest.raises(Problem):
                TARGETS[target].writer.prepare(source(model_type))


def to_gguf(model_type: str, folder: Path, **changes: Any) -> Checkpoint:
    """Convert a family's checkpoint to `folder`/out; gives what it was."""
    view = source(model_type, **changes)
    (folder / "in").mkdir(parents=True)
    there_and_back(view, "hf", folder / "in")
    spec = ConvertSpec(
        source=str(folder / "in"), output=str(folder / "out"), to="gguf", dtype="fp32"
    )
    execute(spec, Console.silent())
    return view


@pytest.mark.families
@pytest.mark.parametrize("model_type", GGUF)
def test_gguf_there_and_back(tmp_path, model_type):
    view = to_gguf(model_type, tmp_path, **GGUF[model_type])
    assert_same(view, open_checkpoint(tmp_path / "out"))


@pytest.mark.families
def test_every_family_that_gguf_does_not_take_is_refused(tmp_path):
    for model_type in FAMILIES:
        if model_type not in GGUF:
            with pytest.raises(Problem, match="is not covered in GGUF"):
                to_gguf(model_type, tmp_path / model_type)


@pytest.mark.parametrize(
    ("target", "model_type"), [("meta", "llama"), ("megatron", "gpt2"), ("flagai", "glm")]
)
def test_there_and_back_in_parts(tmp_path, target, model_type):
    view = source(model_type, vocab_size=62)
    back = there_and_back(view, target, tmp_path, parts=2)
    assert len(back.files) == 2
    assert_same(view, back)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_dialects_there_and_back(tmp_path, dialect):
    if dialect.name in FAMILIES:
        view = source(dialect.name)
        plan = make_plan(view, None)
        write_original(plan, tmp_path, dialect, WriteOptions(max_shard_bytes=10_000))
        write_json(tmp_path / CONFIG, view.config)
        assert_same(view, open_checkpoint(tmp_path))
        return
    view = llama_vision()
    stored = dialect.from_hf(view.tensors, view.config)
    assert_same(view, dataclasses.replace(view, tensors=dialect.to_hf(stored, view.config)))


def llama_vision() -> Checkpoint:
    """The language model of Llama 3.2 Vision, which is no family of the core."""
    config = transformers.models.mllama.configuration_mllama.MllamaTextConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        cross_attention_layers=[1, 3],
        pad_token_id=0,
    )
    with torch.device("meta"):
        model = transformers.MllamaForCausalLM(config)
    tensors = {}
    for seed, (name, like) in enumerate(model.state_dict().items()):
        tensors |= held(f"language_model.{name}", values(like.shape, like.dtype, seed, _SPECIAL))
    return Checkpoint("hf", Path("mllama"), config.to_dict(), tensors, ())
