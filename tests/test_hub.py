"""References to models: local paths, the hub's cache, and a small hub on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub import use
from tfcli.convert.spec import ConvertSpec
from tfcli.errors import UsageError, WorkError
from tfcli.hub import expecting, locate, resolve
from tfcli.hub_choice import HubRef, choose
from tfcli.recipe.digests import InputDigests

COMMIT = "a" * 40
ANSWERS = {
    "gone": (404, "RepoNotFound"),
    "gated": (403, "GatedRepo"),
    "old": (404, "RevisionNotFound"),
    "broken": (500, ""),
}


FILES = (
    "config.json",
    "consolidated.safetensors",
    "model.safetensors",
    "modeling_own.py",
    "onnx/config.json",
    "pytorch_model.bin",
    "tokenizer.json",
)


# Several quantizations, one of them in parts, and a picture encoder that is no model.
PARTS = ("sub/good-Q8_0-00001-of-00002.gguf", "sub/good-Q8_0-00002-of-00002.gguf")
QUANTIZED = ("config.json", "good-Q4_K_M.gguf", "good-UD-Q4_K_XL.gguf", "mmproj-F16.gguf", *PARTS)
ONE_QUANTIZATION = ("README.md", "good-q8_0.gguf")
ORIGINAL = ("consolidated.00.pth", "params.json", "tokenizer.model", "code.py")

# What an older model has. The trainer's arguments are a pickle too, and no weights.
PICKLED = ("config.json", "pytorch_model.bin", "training_args.bin", "tf_model.h5")


REPOSITORIES = {
    "good": FILES,
    "pickled": PICKLED,
    "good-GGUF": QUANTIZED,
    "one-GGUF": ONE_QUANTIZATION,
    "original": ORIGINAL,
}


def git_id(name: str) -> str:
    """What git calls a file that holds its own name."""
    return hashlib.sha1(f"blob {len(name)}\0{name}".encode()).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """Serves `org/good`, whose files hold their own names, and refuses what ANSWERS lists."""

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].split("/")
        if parts[1] == "org":  # /org/good/resolve/<commit>/<file>
            self.answer(200, "/".join(parts[5:]).encode(), ETag=f'"{parts[5]}"')
        elif parts[4] in ANSWERS:  # /api/models/org/<name>/...
            status, code = ANSWERS[parts[4]]
            self.answer(status, b"", **({"X-Error-Code": code} if code else {}))
        elif parts[5] == "tree":
            files = REPOSITORIES[parts[4]]
            tree = [{"type": "file", "path": f, "size": len(f), "oid": git_id(f)} for f in files]
            self.answer(200, json.dumps(tree).encode())
        else:
            siblings = [{"rfilename": name} for name in REPOSITORIES[parts[4]]]
            about = {"id": "org/good", "sha": COMMIT, "siblings": siblings}
            self.answer(200, json.dumps(about).encode())

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers |= {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test output clean."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache in offline mode."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def online(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub on this machine, and a token that must not show up anywhere."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield
    server.shutdown()
    server.server_close()


def in_cache(cache: Path, repo: str, ref: str) -> Path:
    home = cache / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / ref).write_text(COMMIT)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def test_a_folder_here_wins_over_the_hub(cache: Path, tmp_path: Path) -> None:
    in_cache(cache, "org/name", "main")
    (tmp_path / "org/name").mkdir(parents=True)
    assert resolve("org/name") == Path("org/name")


def test_a_cached_model_is_found_offline(cache: Path) -> None:
    snapshot = in_cache(cache, "org/name", "main")
    assert resolve("org/name") == snapshot
    assert snapshot.name == COMMIT


def test_a_cached_revision_is_found_offline(cache: Path) -> None:
    snapshot = in_cache(cache, "name", "v1.0")
    assert resolve("name@v1.0") == snapshot
    assert resolve(f"name@{COMMIT}") == snapshot


def test_offline_and_not_cached(cache: Path) -> None:
    with pytest.raises(WorkError, match="offline mode is on") as error:
        resolve("org/name@v2")
    assert "org/name@v2" in error.value.what
    assert "HF_HUB_OFFLINE" in str(error.value.fix)


@pytest.mark.parametrize(
    "ref", ["./gone", "/gone/model", "a/b/c", "~/gone", "model.safetensors", "", "a b", "../x"]
)
def test_what_is_no_hub_id_is_a_missing_path(cache: Path, ref: str) -> None:
    with pytest.raises(UsageError, match="no such file or folder") as error:
        resolve(ref)
    assert ref in error.value.what


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("gone", UsageError, "neither a folder here nor a model on the hub"),
        ("gated", WorkError, "does not give you access"),
        ("old@v9", UsageError, "no revision v9"),
        ("broken", WorkError, "cannot be reached"),
    ],
)
def test_what_the_hub_refuses(
    online: None, name: str, kind: type[Exception], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(kind, match=says) as error:
        resolve(f"org/{name}")
    assert error.value.fix  # type: ignore[attr-defined]
    out, err = capfd.readouterr()
    assert "hf_secret" not in str(error.value) + out + err


def test_a_download_takes_neither_code_nor_pickles(
    online: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = resolve("org/good")
    assert folder.name == COMMIT
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: name for name in ("config.json", "model.safetensors", "tokenizer.json")
    }
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve(f"org/good@{COMMIT}") == folder


def test_pickled_weights_are_taken_where_there_are_no_others(online: None, cache: Path) -> None:
    folder = resolve("org/pickled")
    assert {path.name for path in folder.iterdir()} == {"config.json", "pytorch_model.bin"}


def fetched(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("ref", "opened"),
    [
        ("good-GGUF:Q4_K_M", "good-Q4_K_M.gguf"),
        ("good-GGUF:q4_k_m@main", "good-Q4_K_M.gguf"),
        (f"good-GGUF@{COMMIT}:Q4_K_M", "good-Q4_K_M.gguf"),
        ("good-GGUF:UD-Q4_K_XL", "good-UD-Q4_K_XL.gguf"),
        ("good-GGUF:Q4_K_XL", "good-UD-Q4_K_XL.gguf"),
        ("good-GGUF:good-Q4_K_M.gguf", "good-Q4_K_M.gguf"),
        ("good-GGUF:mmproj-F16.gguf", "mmproj-F16.gguf"),
        ("one-GGUF", "good-q8_0.gguf"),
        ("good:consolidated.safetensors", "consolidated.safetensors"),
    ],
)
def test_a_hub_id_may_name_a_file_or_a_quantization(
    online: None, cache: Path, ref: str, opened: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resolve(f"org/{ref}")
    assert found.name == opened
    assert COMMIT in found.parts
    weights = {name for name in fetched(found.parent) if not name.endswith(".json")}
    assert weights == {opened}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert resolve(f"org/{ref}") == found


@pytest.mark.parametrize("matrix", ["imatrix.gguf", "good.imatrix.gguf", "imatrix_good.gguf"])
def test_a_model_may_be_named_after_its_importance_matrix(matrix: str) -> None:
    names = ["good-imatrix-Q4_K_M.gguf", matrix, "imatrix.dat"]
    assert choose(names, HubRef("org/good")).opened == names[0]
    assert choose(names, HubRef("org/good", part=matrix)).opened == matrix


def test_a_model_in_parts_comes_with_all_of_them(online: None, cache: Path) -> None:
    found = resolve("org/good-GGUF:Q8_0")
    assert found.as_posix().endswith(PARTS[0])
    assert COMMIT in found.parts
    assert fetched(found.parents[1]) == {"config.json", *PARTS}


@pytest.mark.parametrize(
    ("ref", "says", "fix"),
    [
        ("good-GGUF", "holds 3 models: Q4_K_M, Q8_0, UD-Q4_K_XL", "org/good-GGUF:Q4_K_M"),
        ("good-GGUF:Q2_K", "no quantization 'Q2_K'", "it has Q4_K_M, Q8_0, UD-Q4_K_XL"),
        ("good:Q4_K_M", "no quantization 'Q4_K_M'", "tfcli hub list"),
    ],
)
def test_what_a_repository_lacks_or_has_several_of_is_listed(
    online: None, cache: Path, ref: str, says: str, fix: str
) -> None:
    with pytest.raises(UsageError, match=says) as error:
        resolve(f"org/{ref}")
    assert fix in str(error.value.fix)
    assert not list(cache.rglob("*.gguf"))


def test_weights_as_their_authors_had_them_are_taken_where_there_are_no_others(
    online: None, cache: Path
) -> None:
    assert fetched(resolve("org/original")) == {*ORIGINAL} - {"code.py"}


@pytest.mark.parametrize(
    ("ref", "part"), [("org/good-GGUF:Q4_K_M", ", good-Q4_K_M.gguf"), ("org/good", "")]
)
def test_the_record_of_a_step_names_the_commit_and_the_part_of_a_hub_id(
    online: None, cache: Path, ref: str, part: str
) -> None:
    assert InputDigests(ConvertSpec(source=ref, output="out")) == {ref: f"commit {COMMIT}{part}"}
    assert not cache.exists()  # nothing is fetched to know that


def test_what_a_step_fetches_is_hashed_when_it_is_done(online: None, cache: Path) -> None:
    spec = ConvertSpec(source="org/good", output="out")
    found = InputDigests(spec)
    assert found["org/good"] == f"commit {COMMIT}"
    fetched_file = resolve("org/good") / "model.safetensors"
    assert found.confirm() == []
    # This hub names no file after its hash, so the content has one of its own.
    assert found["org/good"] == InputDigests(spec)["org/good"] != f"commit {COMMIT}"
    fetched_file.write_text("edited in the cache")
    assert InputDigests(spec)["org/good"] != found["org/good"]


def test_what_a_step_records_is_what_it_opens(online: None, cache: Path) -> None:
    asked = locate("org/good")
    with expecting({asked.ref: asked.commit}):
        assert resolve("org/good").name == COMMIT
    with expecting({asked.ref: "b" * 40}), pytest.raises(WorkError, match="changed on the hub"):
        resolve("org/good")
    assert resolve("org/good").name == COMMIT


def test_a_hub_that_does_not_answer(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(WorkError, match="cannot be reached"):
        resolve("org/name")
