"""Makes eetq.safetensors: weights that EETQ's own code quantizes and puts into a GPU's order.

    git clone https://github.com/NetEase-FuXi/EETQ && git -C EETQ checkout 465e972
    .venv/bin/python tests/quantize/golden/make_eetq.py EETQ

That code runs on the CPU; it is compiled without CUDA, with `eetq/stand_ins.h` in the place of what
it includes. The weights are those of `hqq_weights.py`.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from hqq_weights import weight  # noqa: E402

SHAPES = [(64, 64), (64, 128)]
"""Outputs and inputs."""

CALLS = """
#include "cutlass_preprocessors.cc"
extern "C" void quantize(int8_t* ordered, int8_t* levels, float* scales, const float* weight,
                         size_t rows, size_t columns) {
  fastertransformer::symmetric_quantize<float, float>(
      ordered, levels, scales, weight, {rows, columns},
      fastertransformer::QuantType::INT8_WEIGHT_ONLY);
}
"""


def compiled(kernels: Path, folder: Path) -> ctypes.CDLL:
    """EETQ's code as a library."""
    for name in ("cuda_utils.h", "cutlass_extensions/gemm/kernel/mixed_gemm_B_layout.h"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('#include "stand_ins.h"\n')
    (folder / "calls.cc").write_text(CALLS)
    library = folder / "calls.so"
    places = [f"-I{place}" for place in (folder, HERE / "eetq", kernels)]
    include = ["-include", str(HERE / "eetq/stand_ins.h")]
    command = ["g++", "-O1", "-shared", "-fPIC", *places, *include]
    subprocess.run([*command, str(folder / "calls.cc"), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def main() -> None:
    held = {}
    with tempfile.TemporaryDirectory() as folder:
        kernels = Path(sys.argv[1]).resolve() / "csrc/cutlass_kernels"
        library = compiled(kernels, Path(folder))
        for m, n in SHAPES:
            dense = weight((m, n)).t().contiguous()  # as transformers hands it over: inputs first
            ordered, levels = (torch.empty(n, m, dtype=torch.int8) for _ in range(2))
            scales = torch.empty(m)
            numbers = [ctypes.c_void_p(t.data_ptr()) for t in (ordered, levels, scales, dense)]
            library.quantize(*numbers, ctypes.c_size_t(n), ctypes.c_size_t(m))
            name = f"{m}x{n}"
            held |= {f"{name}.weight": ordered, f"{name}.weight_scales": scales.half()}
            held[f"{name}.levels"] = levels
    save_file(held, HERE / "eetq.safetensors", {"made_by": "EETQ 465e972"})


main()
