"""Time products of few rows, ours and torch's, beside a plain loop that reads memory.

    products.py [--shapes 2048x2048,...] [--rows 1,4,8] [--rounds 5]

Each product goes through copies of its weight that no cache holds. A round times every side once,
the loop first; a figure is the median over rounds, a share the median of a round's rate over the
loop's rate in the same round. Bytes are those of the weight as it is stored.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter, process_time

import torch
from torch import Tensor

from tfcli.benchmark import limits
from tfcli.models.kernels.dense import matvec
from tfcli.models.kernels.library import status
from tfcli.models.kernels.packed_rows import PackedRows

MEMORY = 192 << 20  # bytes of weights that a timing goes through
GROUP = 128
clock = perf_counter if torch.get_num_threads() > 1 else process_time
"""On one thread time of the processor: others may be at work beside this."""
SHAPES = "2048x2048,8192x2048,2048x8192,128256x2048"
Side = tuple[str, int, list[Callable[[Tensor], object]], torch.dtype]


def reader() -> Callable[[], float]:
    """What times one pass of the loop: bytes a second."""
    return limits.reader("cpu", torch.get_num_threads()).rate


def sides(m: int, n: int) -> Iterator[Side]:
    """Every product of one shape: name, bytes of a weight, one call a copy, type of x.

    One side at a time, so that the next one's weights are made when these have been let go.
    """
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        one = torch.randn(m, n).to(dtype)
        copies = [one.clone() for _ in range(count(one.nbytes))]
        yield f"{name} ours", one.nbytes, [bound(matvec, w) for w in copies], dtype
        yield f"{name} F.linear", one.nbytes, [bound(_linear, w) for w in copies], dtype
        yield f"{name} torch.mv", one.nbytes, [bound(_mv, w) for w in copies], dtype
    for bits in (8, 4, 3, 2):
        levels = torch.randint(1 << bits, (m, n), dtype=torch.uint8)
        scales = torch.rand(m, n // GROUP).half()
        made = PackedRows.of(levels, scales, None, bits=bits, group_size=GROUP)
        packs = [made]
        for _ in range(count(made.nbytes) - 1):
            packs.append(PackedRows.of(levels, scales, None, bits=bits, group_size=GROUP))
        yield f"{bits} bits ours", made.nbytes, list(packs), torch.bfloat16
        exact = [bound(_exact, w) for w in packs]
        yield f"{bits} bits ours, exact", made.nbytes, exact, torch.bfloat16
        if bits == 4:
            yield int4pack(levels, scales)
        if bits == 8:
            yield int8pack(levels)


def _linear(weight: Tensor, x: Tensor) -> Tensor:
    return torch.nn.functional.linear(x, weight)


def _mv(weight: Tensor, x: Tensor) -> Tensor:
    return torch.mv(weight, x.view(-1))


def _exact(weight: PackedRows, x: Tensor) -> Tensor:
    return weight(x, exact=True)


def int4pack(levels: Tensor, scales: Tensor) -> Side:
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels.int(), 1)
    both = torch.stack([scales.t(), torch.zeros_like(scales.t())], -1).bfloat16().contiguous()
    size = packed.nbytes + both.nbytes
    call = torch.ops.aten._weight_int4pack_mm_for_cpu
    copies = [(packed.clone(), both.clone()) for _ in range(count(size))]

    def product(pair: tuple[Tensor, Tensor], x: Tensor) -> object:
        return call(x, pair[0], GROUP, pair[1])

    calls = [bound(product, pair) for pair in copies]
    return "4 bits torch int4pack", size, calls, torch.bfloat16


def int8pack(levels: Tensor) -> Side:
    weight = (levels.int() - 128).to(torch.int8)
    scale = torch.rand(len(weight)).bfloat16()
    call = torch.ops.aten._weight_int8pack_mm
    copies = [weight.clone() for _ in range(count(weight.nbytes))]

    def product(weight: Tensor, x: Tensor) -> object:
        return call(x, weight, scale)

    calls = [bound(product, each) for each in copies]
    return "8 bits torch int8pack", weight.nbytes, calls, torch.bfloat16


def bound(function: Callable[..., object], weight: object) -> Callable[[Tensor], object]:
    return lambda x: function(weight, x)


def count(nbytes: int) -> int:
    return max(2, MEMORY // nbytes)


def timed(side: Side, x: Tensor, rounds: int, read: Callable[[], float]) -> dict[str, float]:
    """Medians over the rounds: bytes a second, their share of the loop's, seconds a call."""
    _, nbytes, calls, _ = side
    calls[0](x)
    rates, shares = [], []
    for _ in range(rounds):
        before = read()
        began = clock()
        for call in calls:
            call(x)
        rates.append(nbytes * len(calls) / (clock() - began))
        shares.append(rates[-1] / ((before + read()) / 2))
    rate = median(rates)
    return {"bytes_per_second": rate, "share": median(shares), "seconds": nbytes / rate}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--rows", default="1,4,8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="sides with this in their name")
    options = parser.parse_args()
    read = reader()
    found: dict[str, object] = {"kernels": str(status())}
    for shape in options.shapes.split(","):
        m, n = map(int, shape.split("x"))
        for side in sides(m, n):
            name, *_, dtype = side
            if options.only not in name:
                continue
            figures = {}
            for rows in map(int, options.rows.split(",")):
                if rows == 1 or "mv" not in name:
                    x = torch.randn(rows, n).to(dtype)
                    figures[f"rows: {rows}"] = timed(side, x, options.rounds, read)
            found[f"{shape} {name}"] = figures
            cells = [
                f"{label} {each['bytes_per_second'] / 1e9:6.1f} GB/s {each['share']:5.0%} "
                f"{each['seconds'] * 1e3:7.3f} ms"
                for label, each in figures.items()
            ]
            print(f"{shape:>12} {name:<22} {'   '.join(cells)}", file=sys.stderr, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
