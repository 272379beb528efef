"""What `tfcli serve` takes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tfcli.recipe.marks import GIVEN, Only
from tfcli.recipe.shared_keys import Attention, ComputeDtype, Device, LoadIn
from tfcli.recipe.spec import ModelRef, Result, Spec

MIB = 1 << 20


class ServeSpec(Spec):
    """Answer over HTTP, as OpenAI's and Anthropic's interfaces do, until told to end."""

    verb: ClassVar[str] = "serve"
    positional: ClassVar[tuple[str, ...]] = ("models",)

    models: list[ModelRef] = Field(
        min_length=1,
        description="The models: folders or files of any container, or hub ids. A name of one's "
        "own goes before: NAME=MODEL.",
    )
    adapters: list[str] = Field(
        [],
        description="An adapter that requests name as MODEL:NAME, given as NAME=FOLDER, or as "
        "MODEL:NAME=FOLDER where several models are served. Can be repeated.",
    )
    host: str = Field("127.0.0.1", description="The address to listen at; others reach none of it.")
    port: int = Field(8000, ge=0, le=65535, description="The port; 0 takes one that is free.")
    api_key: str | None = Field(
        None,
        min_length=1,
        description="What every request must carry as a bearer token or as x-api-key.",
    )
    dtype: ComputeDtype = "auto"
    device: Device = "auto"
    attention: Attention = "sdpa"
    load_in: LoadIn = None
    rows: int = Field(8, ge=1, le=1024, description="Texts that a model makes beside each other.")
    waiting: int = Field(
        256, ge=0, description="Requests that wait for their turn; more are refused with 429."
    )
    positions: int = Field(
        131072, ge=64, description="Positions of all texts together that a model's caches hold."
    )
    part: int = Field(
        512, ge=16, description="Tokens of a prompt that are read between two steps of other texts."
    )
    max_new_tokens: int = Field(
        4096, ge=1, description="New tokens of an answer at most, and where a request names none."
    )
    prompt_lookup_num_tokens: int | None = Field(
        None,
        ge=1,
        description="Draft at most so many tokens of each text from the text itself: what came "
        "after the same tokens before. The same texts in less time, where they repeat themselves.",
    )
    max_matching_ngram_size: Annotated[int | None, Only(prompt_lookup_num_tokens=GIVEN)] = Field(
        None, ge=1, description="How many tokens are looked for there, at most. Left out, 2."
    )
    prefix_memory: int = Field(
        1024, ge=0, description="MiB of memory for what was read before, of each model; 0: none."
    )
    prefix_folder: str | None = Field(
        None, description="A folder where that survives an end of the server."
    )
    prefix_disk: int = Field(
        8192, ge=1, description="MiB on the disk for that, of each model; the oldest is deleted."
    )
    max_body: int = Field(
        16, ge=1, description="MiB of a request's body at most; a larger one is refused with 413."
    )
    timeout: float = Field(
        600, gt=0, description="Seconds that an answer takes at most; then it ends as it is."
    )
    read_timeout: float = Field(
        30, gt=0, description="Seconds in which a request's body must come, and a client must read."
    )
    grace: float = Field(
        60, ge=0, description="Seconds that running requests have when the server is told to end."
    )


class ServeResult(Result):
    """A server that listens now."""

    schema_name: ClassVar[str] = "tfcli.serve/1"

    url: str = Field(description="Where it answers.")
    models: list[str] = Field(description="The names that requests can say.")
