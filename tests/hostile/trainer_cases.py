"""Folders of trainers: torch's DCP and DeepSpeed's ZeRO."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from tests.checkpoints.torch.hostile_pickles import Reduced, zipped
from tests.hostile.case import Corpus, sparse

CONFIG, METADATA, CHUNKS = "config.json", ".metadata", "__0_0.distcp"
OTHER = {CONFIG: b'{"model_type": "other"}'}
OPTIM = "global_step1/zero_pp_rank_0_mp_rank_00_optim_states.pt"
MODEL = "global_step1/mp_rank_00_model_states.pt"
Change = Callable[[Any], None]


def make(corpus: Corpus) -> None:
    """Add the cases."""
    _dcp(corpus)
    _zero(corpus)


def saved(content: Any) -> bytes:
    """What torch.save writes."""
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def cuts(whole: bytes) -> dict[str, bytes]:
    """A file that is cut off: at once, within what describes it, by a byte."""
    places = {"to nothing": 0, "in a name": whole.index(b"torch") + 3, "by a byte": len(whole) - 1}
    return {name: whole[:at] for name, at in places.items()}


# --- torch.distributed.checkpoint ----------------------------------------------------------------


def dcp(change: Change = lambda metadata: None) -> dict[str, bytes]:
    """A tensor [4] in two chunks, its metadata changed in one thing."""
    halves = [saved(torch.ones(2)), saved(torch.zeros(2))]
    chunks, places, at = [], {}, 0
    for number, data in enumerate(halves):
        offset = torch.Size([2 * number])
        chunks.append(ChunkStorageMetadata(offset, torch.Size([2])))
        places[MetadataIndex("w", offset)] = _StorageInfo(CHUNKS, at, len(data))
        at += len(data)
    tensor = TensorStorageMetadata(TensorProperties(dtype=torch.float32), torch.Size([4]), chunks)
    metadata = Metadata({"w": tensor}, {"w": ("w",)}, places)
    change(metadata)
    return {**OTHER, METADATA: pickle.dumps(metadata), CHUNKS: b"".join(halves)}


def _dcp(corpus: Corpus) -> None:
    def place(**values: Any) -> Change:
        def change(metadata: Any) -> None:
            for name, value in values.items():
                setattr(list(metadata.storage_data.values())[1], name, value)

        return change

    def tensor(**values: Any) -> Change:
        def change(metadata: Any) -> None:
            for name, value in values.items():
                setattr(metadata.state_dict_metadata["w"], name, value)

        return change

    def chunk(**values: Any) -> Change:
        def change(metadata: Any) -> None:
            for name, value in values.items():
                setattr(metadata.state_dict_metadata["w"].chunks[1], name, value)

        return change

    code = Reduced(os.system, corpus.command)
    corpus.keep("dcp", dcp())
    changes: dict[str, tuple[Change, str, str]] = {
        "traversal": (place(relative_path="../x.distcp"), "dcp-traversal", "'../x.distcp'"),
        "absolute": (place(relative_path="/etc/passwd"), "dcp-absolute", "'/etc/passwd'"),
        "missing": (place(relative_path="__1_0.distcp"), "dcp-missing", "__1_0.distcp"),
        "past the end": (place(length=10**12), CHUNKS, "'w' lies in bytes"),
        "before the start": (place(offset=-1), CHUNKS, "'w' lies in bytes -1"),
        "overlap": (chunk(offsets=torch.Size([1])), METADATA, "'w'"),
        "overflow": (tensor(size=torch.Size([2**40, 2**40])), METADATA, "'w'"),
        "negative": (tensor(size=(-4,)), METADATA, "size of 'w'"),
        "code in a chunk": (chunk(sizes=code), METADATA, "system"),
        "code beside it": (lambda m: setattr(m, "planner_data", code), METADATA, "system"),
        "a name as a number": (
            lambda m: m.state_dict_metadata.update({3: m.state_dict_metadata["w"]}),
            METADATA,
            "state_dict_metadata",
        ),
    }
    for name, (change, file, says) in changes.items():
        corpus.add(f"dcp {name}", file, says, dcp(change))
    whole = dcp()
    for name, data in cuts(whole[METADATA]).items():
        corpus.add(f"dcp metadata cut {name}", METADATA, "byte ", {**whole, METADATA: data})
    for name, data in cuts(whole[CHUNKS]).items():
        says = "'w' lies in bytes"
        corpus.add(f"dcp chunks cut {name}", CHUNKS, says, {**whole, CHUNKS: data})
    corpus.add("dcp of code", METADATA, "system", {**whole, METADATA: pickle.dumps(code)})
    link = corpus.add("dcp link", "dcp-link", CHUNKS, {**OTHER, METADATA: whole[METADATA]})
    (link / CHUNKS).symlink_to("/etc/passwd")
    big = corpus.add("dcp metadata of a gigabyte", METADATA, "bytes", OTHER)
    sparse(big / METADATA, 10**9)
    many = {f"w{n}": ChunkStorageMetadata(torch.Size([0]), torch.Size([1])) for n in range(3)}
    laugh: Any = "w"
    for _ in range(60):
        laugh = (laugh, laugh)
    corpus.add(
        "dcp laugh",
        METADATA,
        "",
        dcp(lambda m: setattr(m, "planner_data", {"w": laugh, **many})),
        by=(),
    )


# --- DeepSpeed ZeRO ------------------------------------------------------------------------------


def zero(
    model: dict[str, Any] | None = None, optim: dict[str, Any] | None = None
) -> dict[str, bytes]:
    """One process, stage 2, a weight [2, 3]; entries of the files changed."""
    states = {
        "module": {"w": torch.ones(2, 3).bfloat16()},
        "buffer_names": [],
        "param_shapes": [{"w": torch.Size([2, 3])}],
        "frozen_param_shapes": None,
        "frozen_param_fragments": None,
        "shared_params": {},
    }
    flat = {
        "zero_stage": 2,
        "partition_count": [1],
        "single_partition_of_fp32_groups": [torch.ones(6)],
    }
    return {
        **OTHER,
        "latest": b"global_step1",
        MODEL: saved({**states, **(model or {})}),
        OPTIM: saved({"optimizer_state_dict": {**flat, **(optim or {})}}),
    }


def _zero(corpus: Corpus) -> None:
    whole = zero()
    corpus.keep("zero", whole)
    for name, shapes, says in (
        ("overflow", [{"w": torch.Size([2**40, 2**20])}], "'w' ends at value"),
        ("negative", [{"w": (-2, -3)}], "param_shapes of 'w'"),
        ("no list", 5, "param_shapes"),
    ):
        files = zero({"param_shapes": shapes})
        file = "global_step1" if "value" in says or "last" in says else "model_states.pt"
        corpus.add(f"zero shapes {name}", file, says, files)
    for name, value, says in (
        ("stage", {"zero_stage": 7}, "zero_stage is 7"),
        ("processes", {"partition_count": 2**40}, "processes saved it"),
        ("vectors", {"single_partition_of_fp32_groups": [torch.ones(2, 3)]}, "flat tensors"),
        ("gaps", {"param_alignment_paddings": [[2**62]]}, "the last weight"),
    ):
        file = "global_step1"
        corpus.add(f"zero {name}", file, says, zero(optim=value))
    for name, tag in (("traversal", b"../.."), ("absolute", b"/etc"), ("long", b"x" * 10_000)):
        corpus.add(f"zero latest {name}", "latest", "names the step", {**whole, "latest": tag})
    sparse(
        corpus.add("zero latest of a gigabyte", "latest", "names the step", whole) / "latest", 10**9
    )
    for file, short in ((MODEL, "model"), (OPTIM, "optim")):
        for name, data in cuts(whole[file]).items():
            corpus.add(f"zero {short} cut {name}", file, "truncated", {**whole, file: data})
        code = zipped(pickle.dumps(Reduced(os.system, corpus.command), 2))
        corpus.add(f"zero {short} of code", file, "system", {**whole, file: code})
    left = {name: data for name, data in whole.items() if name != OPTIM}
    link = corpus.add("zero link", "global_step1", Path(OPTIM).name, left)
    (link / OPTIM).symlink_to("/etc/passwd")
    alone = {OPTIM.replace("rank_0", "rank_7", 1): whole[OPTIM]}
    corpus.add("zero processes missing", "global_step1", "[7]", {**left, **alone})
