"""`tfcli inspect`."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.console import Console
from tfcli.inspect.spec import (
    AdapterFacts,
    GGUFFacts,
    InspectResult,
    InspectSpec,
    Memory,
    Need,
    Quantization,
    TensorLine,
)
from tfcli.units import format_bytes, format_count, plural

_ACTIONS = {
    "load": "load",
    "run": "run one sequence",
    "train": "train with AdamW",
    "adapt": "adapt with LoRA, rank 16",
}


def show(result: InspectResult, console: Console) -> None:
    """The facts; with -v every tensor, else the largest five."""
    facts = {"path": result.path, "container": result.kind}
    if result.model_type:
        facts["family"] = f"{result.model_type} ({result.architecture or 'no architecture named'})"
    if result.adapter:
        facts |= _adapter(result.adapter)
    facts["task"] = result.task or f"none: {result.problem}"
    stored = "" if result.parameters_counted == "logical" else " (stored values)"
    facts["parameters"] = f"{format_count(result.parameters)} ({result.parameters:,}){stored}"
    facts["size"] = f"{format_bytes(result.bytes)} in {plural(len(result.files), 'file')}"
    facts["dtypes"] = ", ".join(f"{code} {format_count(n)}" for code, n in result.dtypes.items())
    if result.gguf:
        facts |= _gguf(result.gguf)
    else:
        facts["quantization"] = _quantization(result.quantization)
    if result.tokenizer:
        size = result.tokenizer.vocab_size
        entries = f", {size:,} entries" if size is not None else ""
        facts["tokenizer"] = f"{result.tokenizer.type}{entries} ({result.tokenizer.file})"
    else:
        facts["tokenizer"] = "none"
    facts["chat template"] = "yes" if result.chat_template else "no"
    if result.adapter is None:
        facts |= _memory(result.memory)
    facts |= {f"beside: {name}": what for name, what in result.beside.items()}
    print_facts(console, "Checkpoint" if result.adapter is None else "Adapter", facts)
    _needs(result, console)
    _tensors(result, console)


def _needs(result: InspectResult, console: Console) -> None:
    """What the model needs in each type, and where that fits."""
    if not result.needs:
        return
    dtypes = list(dict.fromkeys(need.dtype for need in result.needs))
    sizes: dict[tuple[str, str], Need] = {(n.action, n.dtype): n for n in result.needs}
    rows = []
    for action, what in _ACTIONS.items():
        found = [sizes.get((action, dtype)) for dtype in dtypes]
        if any(found):
            rows.append([what, *("" if need is None else _need(need) for need in found)])
    here = ", ".join(f"{d.device} {format_bytes(d.bytes)}" for d in result.machine)
    print_table(console, f"Memory that it needs ({here} here)", ["", *dtypes], rows)


def _need(need: Need) -> str:
    fits = need.fits or ["too large here"]
    return f"{format_bytes(need.bytes)} ({', '.join(fits)})"


def _adapter(found: AdapterFacts) -> dict[str, str]:
    facts = {"adapter": f"{found.method}, as {found.wrote} writes it"}
    if found.rank is not None:
        alpha = "" if found.alpha is None else f", alpha {found.alpha:g}"
        facts["rank"] = f"{found.rank}{alpha}"
    if found.targets:
        facts["changes"] = ", ".join(found.targets)
    if found.whole:
        facts["brings whole"] = ", ".join(found.whole)
    if found.base:
        facts["base"] = found.base
    return facts


def _tensors(result: InspectResult, console: Console) -> None:
    shown = result.tensors
    if not console.verbosity:
        shown = sorted(shown, key=lambda tensor: -tensor.bytes)[:5]
    title = f"Tensors: {len(result.tensors)}"
    if len(shown) < len(result.tensors):
        title += ", the largest (-v shows all)"
    rows = [[t.name, t.dtype, _shape(t), format_bytes(t.bytes)] for t in shown]
    print_table(console, title, ["name", "dtype", "shape", "size"], rows)


def _shape(tensor: TensorLine) -> str:
    shape = " x ".join(map(str, tensor.shape)) or "scalar"
    return shape if tensor.parts == 1 else f"{tensor.parts} parts of {shape}"


def _gguf(found: GGUFFacts) -> dict[str, str]:
    facts = {"model": found.name, "architecture": found.architecture, "file type": found.file_type}
    facts["tensors"] = ", ".join(f"{count} {name}" for name, count in found.types.items())
    if found.context_length is not None:
        facts["context"] = f"{found.context_length:,} tokens"
    if found.pre_tokenizer is not None:
        facts["pre-tokenizer"] = found.pre_tokenizer
    return {name: value for name, value in facts.items() if value}


def _quantization(found: Quantization | None) -> str:
    if found is None:
        return "none"
    parts = [found.method]
    if found.bits is not None:
        parts.append(f"{found.bits} bits")
    if found.group_size is not None:
        parts.append("one group a row" if found.group_size == -1 else f"group {found.group_size}")
    return ", ".join(parts)


def _memory(memory: Memory) -> dict[str, str]:
    facts = {"to load": format_bytes(memory.load)}
    if memory.run is not None and memory.context is not None:
        cache = format_bytes(memory.kv_cache or 0)
        facts["to run"] = (
            f"{format_bytes(memory.run)} at {memory.context:,} tokens (key/value cache {cache})"
        )
    facts["to train"] = f"{format_bytes(memory.train)} and activations (AdamW, float32)"
    return facts


app = spec_command(InspectSpec, show, epilog="tfcli inspect meta-llama/Llama-3.2-1B -v")
