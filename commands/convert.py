"""`tfcli convert`."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.console import Console
from tfcli.convert.logits.spec import LogitsAccount
from tfcli.convert.spec import ConvertResult, ConvertSpec, TensorAccount
from tfcli.units import format_bytes, plural


def show(result: ConvertResult, console: Console) -> None:
    """The counts, sizes and checks; with -v and in a dry run a row for each tensor."""
    counts = {name: getattr(result, name) for name in ("converted", "copied", "made", "tied")}
    facts = {
        "source": result.kind,
        "tensors": ", ".join(f"{count} {name}" for name, count in counts.items() if count),
        "size": f"{format_bytes(result.source_bytes)} -> {format_bytes(result.bytes)}",
    }
    if result.dry_run:
        facts["disk needed"] = format_bytes(result.bytes)
        facts["peak memory"] = f"at most {format_bytes(result.peak_bytes)} beside the mapped source"
    else:
        facts["verified"] = _verified(result)
        if result.logits is not None:
            facts["logits"] = _logits(result.logits)
        facts["files"] = ", ".join(result.files[:3]) + (" ..." if len(result.files) > 3 else "")
    if result.companions:
        facts["copied along"] = ", ".join(result.companions)
    if result.left_out:
        facts["left out"] = ", ".join(result.left_out)
    for name, why in result.unused.items():
        facts[f"unused {name}"] = why
    print_facts(console, "Plan (nothing is written)" if result.dry_run else "Converted", facts)
    if console.verbosity or result.dry_run:
        columns = ["from", "action", "to", "shape", "size"]
        print_table(console, "Tensors", columns, [_row(t) for t in result.tensors], texts=3)


def _verified(result: ConvertResult) -> str:
    if not result.verified:
        return "no, as was asked for"
    if result.to in ("onnx", "executorch", "torch-export"):
        return (
            f"{plural(result.verified, 'output')} of the graph checked against the model's, within "
            f"{result.largest_error:.2g} of their largest number"
        )
    if not result.largest_error:
        return result.compared()
    return (
        f"{result.verified} read back and within their types' error of the source, "
        f"at most {result.largest_error:.2g} of a value"
    )


def _logits(logits: LogitsAccount) -> str:
    if not logits.largest_difference:
        return f"equal on {logits.tokens} random tokens, bit for bit"
    text = (
        f"differ by {logits.relative_difference:.2g} of their standard deviation on "
        f"{logits.tokens} random tokens; the types explain {logits.expected_difference:.2g}"
    )
    if logits.kl_divergence is not None:
        text += f"; KL {logits.kl_divergence:.2g} nats a token"
    return text


def _row(tensor: TensorAccount) -> list[str]:
    """Only what differs is said: a tensor that keeps its name and type takes few words."""
    sources = ", ".join(tensor.sources)
    action = f"{tensor.action}: {tensor.how}" if tensor.how else tensor.action
    types = tensor.dtype
    if tensor.source_dtype != tensor.dtype:
        types = f"{tensor.source_dtype} -> {tensor.dtype}"
    target = "" if sources == tensor.name else f"{tensor.name} "
    shape = " x ".join(map(str, tensor.shape)) or "scalar"
    return [sources, action, f"{target}{types}", shape, format_bytes(tensor.bytes)]


app = spec_command(
    ConvertSpec,
    show,
    epilog="tfcli convert meta-llama/Llama-3.2-1B llama-gguf --to gguf --dtype q8_0 "
    "--tensor-type 'attn_v=f16'",
)
