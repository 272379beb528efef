"""`tfcli chat`: a conversation in the terminal, or through a pipe."""

from __future__ import annotations

from tfcli.chat.spec import ChatResult, ChatSpec
from tfcli.commands.options import spec_command
from tfcli.console import Console


def show(result: ChatResult, console: Console) -> None:
    """One line of figures: what was said is on the screen."""
    rate = result.new_tokens / result.seconds if result.seconds else 0.0
    console.note(
        f"{result.turns} answers, {result.new_tokens:,} tokens, {rate:.1f} tokens/s, "
        f"{result.read_tokens:,} tokens read"
    )


app = spec_command(
    ChatSpec,
    show,
    streamed=show,
    epilog="tfcli chat MODEL --system 'Be brief.' --temperature 0.7\n\n"
    "tfcli chat MODEL --dry-run\n\n"
    "printf 'Hello\\nAnd you?\\n' | tfcli chat MODEL",
)
