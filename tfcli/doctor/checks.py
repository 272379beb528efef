"""The checks: each part does a small piece of the work that tfcli needs it for.

A check takes nothing, returns one line about what worked, and raises when it does not. It runs in
a process of its own (`tfcli.doctor.probe`), so it may crash.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from tfcli.errors import WorkError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Check:
    """One row of the table.

    Args:
        name: as shown.
        function: `module:function`.
        needed_for: what does not work without it.
        fix: the command that closes the gap, unless the failed check names a better one.
        package: the module to be installed; without it the part is missing, not broken.
        required: whether tfcli's own commands need it.
        seconds: how long it may take.
        thorough: whether it is tried only when asked for, since it takes long.
    """

    name: str
    function: str
    needed_for: str
    fix: str
    package: str | None = None
    required: bool = True
    seconds: float = 90
    thorough: bool = False


_HERE = "tfcli.doctor.checks:"
_AGAIN = "pip install --upgrade --force-reinstall"

CHECKS = (
    Check("packages", _HERE + "packages", "everything", "pip install --upgrade tfcli"),
    Check("torch", _HERE + "torch", "everything", f"{_AGAIN} torch", "torch"),
    Check(
        "torch.compile",
        _HERE + "compile_",
        "compiled training and decoding",
        "install a C++ compiler (Debian, Ubuntu: apt install g++; macOS: xcode-select --install)",
        "torch",
        required=False,
        seconds=300,
        thorough=True,
    ),
    Check(
        "kernels",
        _HERE + "kernels",
        "decoding at the speed of memory",
        "install a C++ compiler (Debian, Ubuntu: apt install g++)",
        "torch",
        required=False,
        seconds=300,
        thorough=True,
    ),
    Check("accelerate", _HERE + "accelerate", "train", f"{_AGAIN} accelerate", "accelerate"),
    Check("tokenizers", _HERE + "tokenizers", "text", f"{_AGAIN} tokenizers", "tokenizers"),
    Check(
        "hub cache",
        _HERE + "hub_cache",
        "models named by a hub id",
        "set HF_HOME to a folder that you can write to",
        "huggingface_hub",
    ),
    Check(
        "bitsandbytes",
        _HERE + "bitsandbytes",
        "8-bit optimizers",
        "pip install 'tfcli[bnb]'",
        "bitsandbytes",
        required=False,
    ),
    Check(
        "datasets",
        _HERE + "datasets",
        ".csv and .parquet data",
        "pip install 'tfcli[data]'",
        "datasets",
        required=False,
    ),
    Check(
        "gguf",
        _HERE + "gguf",
        "convert --to gguf",
        "pip install 'tfcli[gguf]'",
        "gguf",
        required=False,
    ),
    Check(
        "onnx",
        _HERE + "onnx",
        "convert --to onnx",
        "pip install 'tfcli[onnx]'",
        "onnx",
        required=False,
    ),
    Check(
        "executorch",
        _HERE + "executorch",
        "convert --to executorch",
        "pip install 'tfcli[executorch]'",
        "executorch",
        required=False,
        thorough=True,
    ),
)


def packages() -> str:
    """Every package that tfcli requires is there in a version that it accepts."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires("tfcli") or []]
    except PackageNotFoundError:
        raise WorkError("tfcli is not installed as a package", fix="pip install .") from None
    plain = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = []
    for one in plain:
        try:
            found = version(one.name)
        except PackageNotFoundError:
            wrong.append((one, "missing"))
            continue
        if not one.specifier.contains(found, prereleases=True):
            wrong.append((one, found))
    if wrong:
        said = ", ".join(f"{one.name} {found} (needs {one.specifier})" for one, found in wrong)
        fix = "pip install " + " ".join(f"'{one.name}{one.specifier}'" for one, _ in wrong)
        raise WorkError(said, fix=fix)
    return f"{len(plain)} required packages, all in versions that tfcli accepts"


def torch() -> str:
    """A bf16 product on every device, compared with fp32 on the CPU, and how fast it multiplies."""
    import torch

    from tfcli.devices import has_bf16

    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=generator) for _ in range(2))
    exact = a.bfloat16().float() @ b.bfloat16().float()
    devices = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    said = []
    for device in devices:
        x, y = a.to(device, torch.bfloat16), b.to(device, torch.bfloat16)
        # The result is rounded once more, to 8 significant bits.
        error = ((x @ y).float().cpu() - exact).abs().max() / exact.abs().max()
        if not error < 2**-7:
            raise WorkError(f"a bf16 product on {device} is wrong by {error:.1%}")
        # In the type that matrices are multiplied in there: bf16 may only be emulated.
        dtype = torch.bfloat16 if device != "cpu" or has_bf16("cpu") else torch.float32
        rate = _operations_per_second(x.to(dtype), y.to(dtype))
        said.append(f"{device} {_rate(rate)} in {str(dtype).removeprefix('torch.')}")
    return f"bf16 product of 512 x 512 is right: {', '.join(said)}"


def _operations_per_second(x: Tensor, y: Tensor) -> float:
    """Additions and multiplications a second of x y, the best of a few: others may be at work."""
    best = float("inf")
    for _ in range(5):
        began = perf_counter()
        (x @ y).sum().item()  # waits for the device
        best = min(best, perf_counter() - began)
    return 2 * x.shape[0] * x.shape[1] * y.shape[1] / best


def _rate(operations: float) -> str:
    """Three digits, in the unit in which they say something."""
    units = ("TFLOP/s", 1e12), ("GFLOP/s", 1e9), ("MFLOP/s", 1e6)
    name, size = next(each for each in units if operations >= each[1] or each is units[-1])
    return f"{float(f'{operations / size:.3g}'):g} {name}"


def arithmetic() -> dict[str, str]:
    """What `auto` and the layers choose on this processor."""
    from tfcli.devices import explain

    return explain()


def compile_() -> str:
    """torch.compile of a small function, built from nothing: a cached build proves no compiler."""
    import torch
    from torch._inductor import config
    from torch._inductor.utils import fresh_cache

    with fresh_cache(), config.patch(compile_threads=1):
        began = perf_counter()
        compiled = torch.compile(lambda x: torch.nn.functional.silu(x) * x + 1)
        x = torch.linspace(-3, 3, 4099)
        result = compiled(x)
        took = perf_counter() - began
    if not torch.allclose(result, torch.nn.functional.silu(x) * x + 1, atol=1e-5):
        raise WorkError("a compiled function returns other values", fix="update torch")
    return f"a small function compiled in {took:.1f} s and returns the same values"


def kernels() -> str:
    """Our kernels for few rows, built from nothing, and a product of each kind by them."""
    import torch

    from tfcli.models.kernels import library
    from tfcli.models.kernels.dense import matvec
    from tfcli.models.kernels.packed_rows import PackedRows

    if library.is_unwanted():
        return f"kernels of our own: {library.status()}"
    with tempfile.TemporaryDirectory() as folder:
        began = perf_counter()
        level = library.try_anew(Path(folder))
        took = perf_counter() - began
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(16, (64, 256), generator=generator, dtype=torch.uint8)
    x = torch.randn(2, 256, generator=generator)
    weight = PackedRows.of(levels, torch.full((64, 2), 0.1), None, bits=4, group_size=128)
    exact = x @ ((levels.float() - 8) * 0.1).T
    for name, out, most in (
        ("packed", weight(x), 2e-2),
        ("dense", matvec(weight.dequantize(), x), 1e-5),
    ):
        if out is None or not (out - exact).norm() <= most * exact.norm():
            raise WorkError(f"a {name} product by our kernels is wrong")
    return f"{level}: compiled in {took:.1f} s, products of packed and dense weights are right"


def accelerate() -> str:
    """One training step of a small layer through an Accelerator."""
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator()
    layer = torch.nn.Linear(8, 1)
    layer, optimizer = accelerator.prepare(layer, torch.optim.SGD(layer.parameters(), lr=0.01))
    x = torch.ones(4, 8, device=accelerator.device)
    losses = []
    for _ in range(2):
        loss = (layer(x) - 3).square().mean()
        losses.append(loss.item())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    if not losses[1] < losses[0]:
        raise WorkError(f"a training step does not lower the loss: {losses}")
    return f"a training step on {accelerator.device} lowers the loss"


def tokenizers() -> str:
    """A byte-level BPE trained on one line, and text through it and back."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    text = "quantize the model, measure the model"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator([text] * 4, trainer)
    ids = tokenizer.encode(text).ids
    if tokenizer.decode(ids) != text or len(ids) >= len(text):
        raise WorkError("text does not survive encoding and decoding")
    return f"a trained BPE turns {len(text)} characters into {len(ids)} tokens and back"


def hub_cache() -> str:
    """The cache folder, or the nearest folder above it that exists, takes a file."""
    folder = cache_folder()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=nearest, prefix=".tfcli-doctor-"):
            pass
    except OSError as error:
        raise WorkError(f"{nearest} cannot be written to: {error.strerror}") from error
    offline = " (offline mode is on)" if os.environ.get("HF_HUB_OFFLINE") in ("1", "true") else ""
    return f"{folder} can be written to{offline}"


def cache_folder() -> Path:
    """Where huggingface_hub keeps what it fetches: HF_HUB_CACHE, HF_HOME, or its default."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def bitsandbytes() -> str:
    """A matrix through 4-bit NF4 and back, and one step of 8-bit AdamW."""
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit
    from bitsandbytes.optim import AdamW8bit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    matrix = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).to(device)
    packed, state = quantize_4bit(matrix, blocksize=64, quant_type="nf4")
    error = (dequantize_4bit(packed, state) - matrix).norm() / matrix.norm()
    if not error < 0.2:
        raise WorkError(f"a 4-bit matrix comes back wrong by {error:.0%}")
    # Smaller tensors than 4096 values keep 32-bit states.
    parameter = torch.nn.Parameter(torch.ones(64, 128, device=device))
    optimizer = AdamW8bit([parameter], lr=0.1)
    parameter.square().sum().backward()
    optimizer.step()
    moment = optimizer.state[parameter]["state1"].dtype
    if not (parameter < 1).all() or moment != torch.uint8:
        raise WorkError(f"an 8-bit AdamW step goes wrong (states are {moment})")
    return f"NF4 there and back ({error:.1%} error) and an 8-bit AdamW step, on {device}"


def datasets() -> str:
    """A small JSON Lines file read."""
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is fetched and nothing stays in the user's cache.
        os.environ["HF_DATASETS_CACHE"] = folder
        from datasets import disable_progress_bars, load_dataset

        disable_progress_bars()
        path = Path(folder) / "rows.jsonl"
        rows = [{"text": "one"}, {"text": "two"}]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        read = load_dataset("json", data_files=str(path), split="train", cache_dir=folder)
        same = read["text"][:] == ["one", "two"]
    if not same:
        raise WorkError("a JSON Lines file reads back with other rows")
    return "a JSON Lines file reads back"


def gguf() -> str:
    """A row through Q8_0 and back."""
    import numpy
    from gguf import GGMLQuantizationType, dequantize, quantize

    row = numpy.linspace(-1, 1, 64, dtype=numpy.float32)[None]
    kind = GGMLQuantizationType.Q8_0
    error = abs(dequantize(quantize(row, kind), kind) - row).max()
    if not error < 0.01:
        raise WorkError(f"Q8_0 values come back wrong by {error:.0%}")
    return f"a row through Q8_0 and back ({error:.1%} error)"


def onnx() -> str:
    """A graph of one product, made by onnx and run by onnxruntime."""
    import numpy
    import onnxruntime
    from onnx import TensorProto, checker, helper

    x, y = (helper.make_tensor_value_info(each, TensorProto.FLOAT, [2, 2]) for each in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "square", [x], [y])
    made = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 18)])
    checker.check_model(made)
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"x": numpy.full((2, 2), 3, dtype=numpy.float32)})
    if not (found == 18).all():
        raise WorkError("onnxruntime computes other values")
    return f"onnxruntime {onnxruntime.__version__} runs a graph that onnx made"


def executorch() -> str:
    """A small module exported, lowered and run."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    layer = torch.nn.Linear(4, 2)
    x = torch.ones(1, 4)
    lowered = to_edge_transform_and_lower(
        torch.export.export(layer, (x,)), partitioner=[XnnpackPartitioner()]
    )
    program = Runtime.get().load_program(lowered.to_executorch().buffer)
    method = program.load_method("forward")
    if method is None:
        raise WorkError("a program has lost its method")
    (found,) = method.execute([x])
    if not torch.allclose(found, layer(x), atol=1e-4):
        raise WorkError("ExecuTorch's runtime computes other values")
    return "a layer exported and lowered runs in its runtime"


def plain(detail: str) -> str:
    """One line without the terminal codes that libraries colour their errors with."""
    return re.sub(r"\x1b\[[0-9;]*m", "", detail).strip()
