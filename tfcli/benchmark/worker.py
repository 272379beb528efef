"""The process that measures one case: `python -m tfcli.benchmark.worker '{...}'`.

A process of its own gives each case a clean start: what it holds at most is its own, and no model
runs in what another left behind. Prints one JSON object on stdout, figures or an error. Nothing
heavy is imported here, so that the import of a side can be timed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from time import perf_counter

from tfcli.benchmark.task import Answer, Task
from tfcli.errors import Problem


def work(task: Task) -> Answer:
    """Import the task's side and measure its case.

    Raises:
        WorkError: the side cannot load the model, or fails.
    """
    began = perf_counter()
    run = _side(task.side)
    if task.case == "import":
        from tfcli.benchmark.memory import peak_memory, private_memory

        taken = perf_counter() - began
        return Answer([taken], peak_memory(), private_memory())
    return run(task)


def _side(name: str) -> Callable[[Task], Answer]:
    if name == "llama.cpp":
        return _llama_cpp()
    from tfcli.benchmark.measure import measure

    if name == "transformers":
        from tfcli.benchmark.sides.with_transformers import TransformersSide

        return lambda task: measure(task, TransformersSide)
    from tfcli.benchmark.sides.own import OwnSide

    return lambda task: measure(task, OwnSide)


def _llama_cpp() -> Callable[[Task], Answer]:
    from random import Random

    from tfcli.benchmark.memory import peak_memory, private_memory
    from tfcli.benchmark.sides.llama_cpp import LlamaCppSide

    def run(task: Task) -> Answer:
        began = perf_counter()
        side = LlamaCppSide(task)
        loads = [perf_counter() - began]
        # Ids from 0 to 99 are in every vocabulary that is larger; which they are changes no time.
        draw = Random(0)
        prompts = [[draw.randrange(100) for _ in range(task.length)]] * task.batch_size
        if task.case == "load":
            for _ in range(task.repeats):
                del side
                began = perf_counter()
                side = LlamaCppSide(task)
                loads.append(perf_counter() - began)
            seconds = loads[1:]
        elif task.case == "start":
            seconds = [loads[0] + side.seconds(prompts)]
        else:
            side.seconds(prompts)
            seconds = [side.seconds(prompts) for _ in range(task.repeats)]
        return Answer(seconds, peak_memory(), private_memory())

    return run


def main() -> int:
    task = Task(**json.loads(sys.argv[1]))
    # Results go to the real stdout; what libraries print there, also from C, goes to stderr.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        answer = {"answer": asdict(work(task))}
    except Problem as problem:
        answer = {"error": {"what": problem.what, "where": problem.where, "fix": problem.fix}}
    results.write(json.dumps(answer) + "\n")
    results.flush()
    # A server of llama.cpp may have threads that keep a process from ending.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
