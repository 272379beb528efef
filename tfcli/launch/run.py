"""`tfcli launch`: from a recipe to a file for an engine that the user has."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from tfcli.console import Console
from tfcli.errors import UsageError
from tfcli.estimate.run import Question, estimate
from tfcli.estimate.runtime import measure
from tfcli.files import write_text
from tfcli.launch.engines import dstack, kubernetes, ray, skypilot, slurm
from tfcli.launch.plan import Plan, job_name
from tfcli.launch.result import LaunchResult
from tfcli.train.spec import TrainSpec

ROOM = 1.1
"""What is asked for over what is counted."""
STANDARD = "-"
"""The name of standard output."""


@dataclass(frozen=True)
class Engine:
    """One kind of file.

    Args:
        write: makes it.
        use: says how it is started.
        shared: all machines see this file system; else the engine brings the folder there.
        needs: flags that it cannot do without.
        takes: further flags that have an effect.
    """

    write: Callable[[Plan], str]
    use: str
    shared: bool
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


ENGINES = {
    "slurm": Engine(slurm.write, slurm.USE, True, takes=("gpu",)),
    "skypilot": Engine(skypilot.write, skypilot.USE, False, ("storage",), ("gpu", "image")),
    "kubernetes": Engine(kubernetes.write, kubernetes.USE, False, ("storage", "image")),
    "dstack": Engine(dstack.write, dstack.USE, False, ("storage",), ("gpu", "image")),
    "ray": Engine(ray.write, ray.USE, True),
}
MEANS = {
    "gpu": "the device's name there, such as H100",
    "image": "a container image that has tfcli",
    "storage": "what outlives a machine: a claim (kubernetes), a bucket's address (skypilot) or a "
    "volume (dstack)",
}


@dataclass(frozen=True)
class Request:
    """What is asked beside the recipe; see `Plan`."""

    engine: str
    nodes: int
    gpus: int
    seconds: int | None
    grace: int
    restarts: int
    gpu: str | None = None
    image: str | None = None
    storage: str | None = None


def launch(
    recipe: Path,
    spec: TrainSpec,
    request: Request,
    output: str,
    console: Console,
    *,
    force: bool = False,
) -> LaunchResult:
    """Make the file, and write it where it is to go.

    Raises:
        UsageError: flags that do not go with the engine, processes that do not share the recipe's
            strategy, a recipe that the engine would not find, or a file that is there.
    """
    engine = ENGINES[request.engine]
    check_flags(request, engine)
    target = None if output == STANDARD else Path(output)
    check_target(target, force)
    where = _recipe_there(recipe, engine)
    processes = request.nodes * max(1, request.gpus)
    _check_groups(spec, processes)
    device: Literal["cpu", "cuda"] = "cuda" if request.gpus else "cpu"
    counted = estimate(spec, Question(processes, device), console)
    sizes = {part.name: part.bytes for part in counted.parts}
    each = counted.bytes
    if request.gpus:  # weights are read on the CPU, a tensor at a time
        each = measure() + sizes.get("weights", 0)
    plan = Plan(
        recipe=where,
        name=job_name(recipe.stem),
        folder=str(Path.cwd()) if engine.shared else None,
        nodes=request.nodes,
        gpus=request.gpus,
        seconds=request.seconds,
        grace=request.grace,
        restarts=request.restarts,
        parts=sizes,
        memory=counted.bytes,
        host=int(ROOM * each * max(1, request.gpus)),
        versions=versions(),
        gpu=request.gpu,
        image=request.image,
        storage=request.storage,
    )
    text = engine.write(plan)
    if target is not None:
        write_text(target, text)
    file = "FILE" if target is None else shlex.quote(str(target))
    return LaunchResult(
        engine=request.engine,
        recipe=str(recipe),
        name=plan.name,
        nodes=plan.nodes,
        processes=plan.processes,
        memory=plan.memory,
        host_memory=plan.host,
        output=None if target is None else str(target),
        start=engine.use.removeprefix("Start it with: ").replace("FILE", file),
        text=text,
    )


def check_flags(request: Request, engine: Engine) -> None:
    """Refuse flags that an engine lacks or has no use for.

    Raises:
        UsageError: naming the flag.
    """
    needs = engine.needs + (("gpu",) if request.engine == "skypilot" and request.gpus else ())
    for flag, meaning in MEANS.items():
        given = getattr(request, flag)
        if given is None and flag in needs:
            raise UsageError(f"--to {request.engine} needs --{flag}: {meaning}", where=f"--{flag}")
        if given is None:
            continue
        if flag not in (*needs, *engine.takes) or (flag == "gpu" and not request.gpus):
            raise UsageError(
                f"--{flag} has no effect with --to {request.engine}"
                + (" and no GPUs" if flag == "gpu" and not request.gpus else ""),
                where=f"--{flag}",
                fix="leave it out",
                code="usage.no_effect",
            )
        if not given.isprintable() or not given.strip() or set(given) & set("'\"\\$`${}; "):
            raise UsageError(f"{given!r} is no name", where=f"--{flag}", fix=f"give {meaning}")


def check_target(target: Path | None, force: bool) -> None:
    """Refuse a file that is there.

    Raises:
        UsageError: it is, or its folder is not.
    """
    if target is None:
        return
    if target.exists() and (target.is_dir() or not force):
        raise UsageError(
            f"{target} is there already", where="--output", fix="another name, or --force"
        )
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", where="--output")


def versions() -> dict[str, str]:
    """What this machine runs, for the file's head; without the part that names a build."""
    found = {name: version(name).partition("+")[0] for name in ("tfcli", "torch")}
    return {"python": platform.python_version(), **found}


def _recipe_there(recipe: Path, engine: Engine) -> str:
    """The recipe's path where it runs: from the folder that goes along, or of the file system that
    all share."""
    path = recipe.absolute()
    if path.is_relative_to(Path.cwd()):
        inside = str(path.relative_to(Path.cwd()))
        return f"./{inside}" if inside.startswith("-") else inside  # which is no flag
    if engine.shared:
        return str(path)
    raise UsageError(
        f"{recipe} lies outside of this folder, which is what goes along",
        where="recipe",
        fix="start in a folder that has the recipe and its data",
    )


def _check_groups(spec: TrainSpec, processes: int) -> None:
    size = spec.fsdp.group_size
    if size is not None and processes % size:
        raise UsageError(
            f"groups of {size} processes do not make up the {processes} of this job",
            where="fsdp.group_size",
            fix=f"a divisor of {processes}, or other --nodes and --gpus-per-node",
        )
