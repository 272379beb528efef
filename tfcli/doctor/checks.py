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

from tfcli.errors import WorkError


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
    """

    name: str
    function: str
    needed_for: str
    fix: str
    package: str | None = None
    required: bool = True
    seconds: float = 90


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
    ),
    Check("accelerate", _HERE + "accelerate", "train", f"{_AGAIN} accelerate", "accelerate"),
    Check(
        "safetensors",
        _HERE + "safetensors",
        "every checkpoint",
        f"{_AGAIN} safetensors",
        "safetensors",
    ),
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
    """A bf16 product on every device, compared with fp32 on the CPU."""
    import torch

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
        began = perf_counter()
        for _ in range(8):
            product = x @ y
        product.sum().item()  # waits for the device
        rate = 8 * 2 * 512**3 / (perf_counter() - began)
        said.append(f"{device} {rate / 1e9:,.0f} GFLOP/s")
    return f"bf16 product of 512 x 512 is right: {', '.join(said)}"


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


def safetensors() -> str:
    """A file written and read back."""
    import torch
    from safetensors.torch import load_file, save_file

    tensor = torch.arange(64, dtype=torch.bfloat16).reshape(8, 8)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.safetensors")
        save_file({"weight": tensor}, path)
        same = torch.equal(load_file(path)["weight"], tensor)
    if not same:
        raise WorkError("a tensor reads back with other values")
    return "a bf16 tensor reads back as it was written"


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


def plain(detail: str) -> str:
    """One line without the terminal codes that libraries colour their errors with."""
    return re.sub(r"\x1b\[[0-9;]*m", "", detail).strip()
