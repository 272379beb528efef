"""What torch sees of this machine. It runs in the probe's process: importing torch may crash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# The ones that decide how fast tfcli's kernels are, as torch names them.
FEATURES = (
    "avx2",
    "avx512_f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "neon",
    "bf16",
    "sve",
    "sve2",
)


def devices() -> list[dict[str, Any]]:
    """The processor first, then every accelerator."""
    import torch

    found = [_processor()]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        found.append(
            {
                "type": "cuda",
                "name": about.name,
                "memory_bytes": total,
                "memory_free_bytes": free,
                "compute_capability": f"{about.major}.{about.minor}",
                "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
            }
        )
    if torch.backends.mps.is_available():
        found.append(
            {
                "type": "mps",
                "name": "Apple GPU",
                "memory_bytes": torch.mps.recommended_max_memory(),
            }
        )
    return found


def _processor() -> dict[str, Any]:
    import torch

    from tfcli.devices import has_bf16
    from tfcli.recipe.record import machine

    facts = machine()
    features = [name for name, there in torch.cpu.get_capabilities().items() if there is True]
    return {
        "type": "cpu",
        "name": facts["processor"],
        "cores": facts["cores"],
        "threads": torch.get_num_threads(),
        "level": torch.backends.cpu.get_cpu_capability(),
        "features": [name for name in FEATURES if name in features],
        "bf16": has_bf16("cpu"),
    }


def disk() -> dict[str, Any]:
    """Space on the file system that holds the hub cache."""
    import shutil

    from tfcli.doctor.checks import cache_folder

    folder = cache_folder()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(nearest)
    return {"path": os.fspath(Path(folder)), "free_bytes": usage.free, "total_bytes": usage.total}
