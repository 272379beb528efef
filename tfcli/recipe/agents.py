"""AGENTS.md, written from the table of commands: what a script or an agent needs to drive tfcli."""

from __future__ import annotations

from collections.abc import Mapping

from tfcli.errors import CODES
from tfcli.recipe.reference import GENERATED
from tfcli.recipe.spec import needs_recipe
from tfcli.recipe.verbs import VERBS

HEAD = """\
# tfcli for scripts and agents

tfcli converts, quantizes, trains, evaluates and benchmarks transformer checkpoints. Everything here
holds for every command; [docs/reference.md](docs/reference.md) has every key,
[docs/json.md](docs/json.md) every field, [docs/recipes.md](docs/recipes.md) how recipes work.

## What holds everywhere

- `--json` prints one JSON object on one line on stdout; progress, notes and warnings go to stderr.
  The first key, `schema`, gives name and version.
- Nothing asks a question, and nothing needs a terminal. `--quiet` leaves warnings and errors.
- Exit codes: 0 done, 1 the work failed, 2 wrong usage or recipe, 130 interrupted.
- A recipe key, a flag and a `--set KEY=VALUE` path are one thing: `group_size` is `--group-size`,
  `optimizer.lr` is `--optimizer.lr`. Words are keys too: `--model M -o OUT`.
- Wrong keys and values are found before anything is loaded, all at once. A key without an effect
  beside the others is an error.
- An output folder gets its name when it is whole. It is never replaced without `--force`, and a
  folder that tfcli did not make not even then. The same command again does nothing; with
  `--verify-files` it reads all files again before it says so.
- An interrupted `train` goes on when it is run again.
- A model is a folder or a file of any container that `convert` reads, or a hub id
  `org/name[:file or quantization][@revision]`; `HF_HUB_OFFLINE=1` keeps to the cache. Code that a
  checkpoint brings along is never run.

## Before the work

    tfcli doctor --json                      # what this machine has, and what is missing
    tfcli inspect MODEL --json               # what a checkpoint is, and the memory that it needs
    tfcli recipe validate FILE --json        # everything that is wrong with a recipe
    tfcli run FILE --dry-run --json          # which steps would run
    tfcli convert SRC OUT --dry-run --json   # what would be written, and the memory and disk for it
"""

RECIPES = """\
## Recipes

    name: shrink
    output: runs/shrink
    steps:
      small:
        command: quantize
        model: org/name
        method: rtn
      loss:
        command: eval
        model: ${small}
        data: text.jsonl

`tfcli run FILE` runs the steps; those whose options and inputs are unchanged are skipped, others
run again, with those that read from them. `--only STEP` and `--from STEP` choose,
`--set steps.small.bits=3` changes a key, `tfcli recipe schema --json` gives the JSON Schema.
"""

CODE = """\
## Changing tfcli itself

[CONTRIBUTING.md](CONTRIBUTING.md) says how to add a family, a method or a command,
[docs/architecture.md](docs/architecture.md) where a line of code belongs. `scripts/test` is
what must hold before a change lands, `scripts/test --nightly` all that must hold;
`scripts/reference` writes this page and the reference pages.
"""
OTHERS = {
    "run": "RECIPE",
    "sweep": "RECIPE",
    "data preview": "RECIPE",
    "serve": "MODEL...",
    "recipe": "list\\|show\\|validate\\|schema",
    "hub": "ls\\|download\\|upload",
}
"""What follows the commands that are no verbs."""


def agents_page(commands: Mapping[str, str]) -> str:
    """AGENTS.md.

    Args:
        commands: every command of the command line -> what it does.
    """
    rows = [f"| `tfcli {_usage(name)}` | {text} |" for name, text in commands.items()]
    codes = [f"| `{code}` | {text} |" for code, text in CODES.items()]
    return "\n".join(
        [
            GENERATED,
            HEAD,
            "## Commands",
            "",
            "| command | what it does |",
            "|---|---|",
            *rows,
            "",
            RECIPES,
            "## Errors",
            "",
            "A command that fails prints an object with `schema`, `exit_code` and `error`. `error`",
            "has `code`, `what`, `where`, `fix`, `step`, and `errors`, which holds each thing that",
            "is wrong by itself. Go by `code`:",
            "",
            "| code | what it stands for |",
            "|---|---|",
            *codes,
            "",
            CODE,
        ]
    )


def _usage(name: str) -> str:
    if name not in VERBS:
        return f"{name} {OTHERS[name]}" if name in OTHERS else name
    spec = VERBS[name].spec()
    words = [word.upper() for word in spec.positional]
    if needs_recipe(spec):
        return " ".join([name, "RECIPE", *words])
    required = [
        f"--{key.replace('_', '-')} ..."
        for key, field in spec.model_fields.items()
        if field.is_required() and key not in spec.positional
    ]
    return " ".join([name, *words, *required])
