from __future__ import annotations

from tests.echo.spec import EchoResult, EchoSpec
from tfcli.recipe.job import Job


def run(spec: EchoSpec, job: Job) -> EchoResult:
    return EchoResult(spec=spec.model_dump(mode="json"))
