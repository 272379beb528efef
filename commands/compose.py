"""`tfcli compose`."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.commands.output import print_facts, print_table
from tfcli.compose.spec import ComposeResult, ComposeSpec
from tfcli.console import Console
from tfcli.units import format_bytes, plural


def show(result: ComposeResult, console: Console) -> None:
    """What was put together, and what stands for media in a text."""
    facts = {"language model": result.language_model}
    for each in result.encoders:
        tower = f"{each.model_type} ({each.tower})" if each.tower else each.model_type
        added = "added to" if each.new_token else "known to"
        facts[each.name] = (
            f"{tower}, {each.projector} projector of {each.projector_parameters:,} new values; "
            f"{each.token} ({each.token_id}, {added} the tokenizer) stands for "
            f"{plural(each.features, 'feature')} of {each.processor}"
        )
    facts["tensors"] = f"{result.copied} copied, {result.converted} converted, {result.new} new"
    skipped = sum(len(each.skipped) for each in result.encoders) + len(result.skipped)
    if skipped:
        facts["left out"] = (
            f"{plural(skipped, 'tensor')} of the checkpoints; --json has the reasons"
        )
    if result.dry_run:
        facts["size"] = format_bytes(result.bytes)
    else:
        facts["verified"] = f"{result.verified} read back and equal to a second pass, bit for bit"
        facts["size"] = f"{format_bytes(result.bytes)} in {plural(len(result.files), 'file')}"
    print_facts(console, "Would compose" if result.dry_run else "Composed", facts)
    if console.verbosity:
        rows = [[t.name, t.dtype, t.part, t.action, t.source] for t in result.tensors]
        columns = ["name", "dtype", "part", "action", "source"]
        print_table(console, "Tensors", columns, rows, texts=5)


app = spec_command(
    ComposeSpec,
    show,
    epilog="tfcli compose talk.yaml models/talk\ntfcli compose talk.yaml --dry-run",
)
