"""`tfcli generate`: continue a prompt, or answer it."""

from __future__ import annotations

from tfcli.commands.options import spec_command
from tfcli.console import Console
from tfcli.generate.preview import printable
from tfcli.generate.spec import GenerateResult, GenerateSpec, is_answer


def show(result: GenerateResult, console: Console) -> None:
    """The prompt in grey, the new text, and one line of figures."""
    console.out.print(
        printable(result.prompt),
        style="dim",
        markup=False,
        soft_wrap=True,
        end="\n" if is_answer(result.task, result.chat) else "",
    )
    console.out.print(printable(result.text), markup=False, soft_wrap=True)
    ended = "the model ended it" if result.finish_reason == "stop" else "max_new_tokens reached"
    console.note(
        f"{len(result.token_ids)} tokens, {result.tokens_per_second:.1f} tokens/s, {ended}"
    )


app = spec_command(
    GenerateSpec,
    show,
    epilog="tfcli generate MODEL 'Once upon a time' --temperature 0.8\n\n"
    "tfcli generate MODEL 'Why is the sky blue?' --chat --system 'Be brief.'",
)
