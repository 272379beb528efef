"""Errors over HTTP, in the form of the interface that was asked."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse

from tfcli.errors import Problem, UsageError
from tfcli.serve.engine import BusyError, EndingError

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    500: "api_error",
}
"""Status -> the type of the error, which both interfaces have."""


class ApiError(Exception):
    """What a client is told.

    Args:
        status: of HTTP.
        message: what is wrong, and what to do.
        param: the key of the request that it is about.
        code: a stable name, as OpenAI's interface has some.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


def api_error(error: Exception) -> ApiError:
    """What a client is told of an error that came while its request was served."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        said = first["msg"].removeprefix("Value error, ")
        return ApiError(400, f"{param}: {said}" if param else said, param=param)
    if isinstance(error, BusyError):
        return ApiError(503 if isinstance(error, EndingError) else 429, _said(error))
    if isinstance(error, UsageError):
        long = "no room for new ones" in error.what
        code = "context_length_exceeded" if long else None
        return ApiError(400, _said(error), param=error.where, code=code)
    if isinstance(error, Problem) and error.code != "internal.unexpected":
        return ApiError(422, _said(error), code=error.code)
    return ApiError(500, f"a defect of the server: {type(error).__name__}", code="internal")


def content(error: ApiError, path: str) -> dict[str, Any]:
    """The body of an answer, as the interface at a path has it."""
    kind = KINDS.get(error.status, "invalid_request_error")
    if path.startswith("/v1/messages"):
        return {"type": "error", "error": {"type": kind, "message": error.message}}
    said = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    return {"error": said}


def response(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that failed."""
    found = api_error(error)
    retry = {"retry-after": "1"} if found.status in (429, 503) else {}
    return JSONResponse(content(found, request.url.path), found.status, retry)


def _said(problem: Problem) -> str:
    return f"{problem.what}; {problem.fix}" if problem.fix else problem.what
