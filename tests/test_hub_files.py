"""`tfcli hub` against a small hub on this machine: what it asks, what it sends, what it says."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_api  # noqa: F401 - `use` sets its endpoint

from tests.hub import use
from tests.test_hub import COMMIT, FILES, Hub, cache  # noqa: F401 - cache is a fixture
from tfcli.commands.app import run
from tfcli.errors import UsageError, WorkError
from tfcli.hub_files import download_files, list_files, upload_folder

NEW = "b" * 40


class WritableHub(Hub):
    """Takes small files for `org/good`; notes what comes."""

    made: list[dict[str, object]]
    sent: dict[str, bytes]
    messages: list[str]
    asked: list[str]
    tokens: set[str | None]

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        self.asked.append(self.path)
        self.tokens.add(self.headers["authorization"])
        if self.path == "/api/whoami-v2":
            self.answer_post(json.dumps({"type": "user", "name": "me"}).encode())
            return
        self.path += "/revision/main" if self.path.count("/") == 4 else ""
        super().do_GET()

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server calls
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/api/repos/create":
            self.made.append(json.loads(body))
            answer: dict[str, object] = {
                "url": f"http://{self.headers['host']}/org/gone",
                "id": "org/gone",
            }
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            answer = {
                "files": [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in files
                ]
            }
        else:
            assert "/commit/" in self.path
            for line in body.splitlines():
                item = json.loads(line)
                if item["key"] == "header":
                    self.messages.append(item["value"]["summary"])
                else:
                    value = item["value"]
                    self.sent[value["path"]] = base64.b64decode(value["content"])
            address = f"http://{self.headers['host']}/org/good/commit/{NEW}"
            answer = {"success": True, "commitOid": NEW, "commitUrl": address}
        self.answer_post(json.dumps(answer).encode())

    def answer_post(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(
    cache: Path,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[type[WritableHub]]:
    class Server(WritableHub):
        made, sent, messages, asked, tokens = [], {}, [], [], set()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    use(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    yield Server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to upload."""
    path = tmp_path / "mine"
    (path / "deep").mkdir(parents=True)
    for name in ("config.json", "deep/notes.txt", ".hidden", "run.json"):
        (path / name).write_text(name)
    return path


def test_a_listing_is_of_one_commit(hub: type[WritableHub]) -> None:
    result = list_files("org/good", [], [])
    assert (result.repo, result.commit) == ("org/good", COMMIT)
    assert [file.name for file in result.files] == sorted(FILES)
    assert result.bytes == sum(map(len, FILES))
    assert any(f"/tree/{COMMIT}" in path for path in hub.asked)


def test_the_token_is_sent(hub: type[WritableHub]) -> None:
    list_files("org/good", [], [])
    assert hub.tokens == {"Bearer hf_secret"}


def test_patterns(hub: type[WritableHub]) -> None:
    found = list_files("org/good", ["*.safetensors", "*.json"], ["onnx/*", "cons*"])
    names = [file.name for file in found.files]
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    with pytest.raises(UsageError, match="no file of org/good fits"):
        list_files("org/good", ["*.gguf"], [])


def test_a_download_into_a_folder(hub: type[WritableHub], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = download_files("org/good", out, ["*.json"], ["onnx/*"])
    assert {p.name for p in out.iterdir() if p.is_file()} == {"config.json", "tokenizer.json"}
    assert result.commit == COMMIT
    assert [file.name for file in result.files] == ["config.json", "tokenizer.json"]
    assert all(COMMIT in path for path in hub.asked if "/resolve/" in path)
    # The branch is asked for once: it may move while files arrive.
    assert not [path for path in hub.asked if "main" in path]
    before = len([path for path in hub.asked if "/resolve/" in path])
    download_files("org/good", out, ["*.json"], ["onnx/*"])
    assert len([path for path in hub.asked if "/resolve/" in path]) == before


@pytest.mark.parametrize("made", ["file", "link", "edited"])
def test_a_download_writes_over_no_file_of_the_users(
    hub: type[WritableHub], tmp_path: Path, made: str
) -> None:
    """One that was there before, and one that was fetched and then changed."""
    out = tmp_path / "out"
    (out / "onnx").mkdir(parents=True)
    mine = out / "config.json"
    if made == "edited":
        download_files("org/good", out, ["config.json"], [])
        mine.write_text("{}")
        os.utime(mine, (2e9, 2e9))
    elif made == "link":
        mine.symlink_to("nowhere")
    else:
        mine.write_text("{}")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"config\.json is there, and no download") as error:
            download_files("org/good", out, ["*.json"], [])
        assert error.value.code == "output.not_empty"
    assert not (out / "tokenizer.json").exists()
    assert mine.is_symlink() if made == "link" else mine.read_text() == "{}"
    download_files("org/good", out, ["*.json"], ["config.json"])
    assert (out / "tokenizer.json").exists()


def test_a_file_that_is_the_hubs_goes_on(hub: type[WritableHub], tmp_path: Path) -> None:
    """As a process leaves it that dies between the file and the client's note of it."""
    out = tmp_path / "out"
    download_files("org/good", out, ["config.json"], [])
    content = (out / "config.json").read_bytes()
    shutil.rmtree(out / ".cache")
    download_files("org/good", out, ["*.json"], [])
    assert (out / "config.json").read_bytes() == content


def test_what_is_in_the_cache_is_found_offline(
    hub: type[WritableHub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    online = download_files("org/good", None, ["*.json"], [])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = download_files(f"org/good@{COMMIT}", None, ["*.json"], [])
    assert offline == online
    with pytest.raises(WorkError, match="not complete in the hub's cache, and offline mode is on"):
        download_files("org/other", None, [], [])
    with pytest.raises(WorkError, match="offline mode is on"):
        download_files("org/good", tmp_path / "out", [], [])
    with pytest.raises(WorkError, match="could not be listed: offline mode is on"):
        list_files("org/good", [], [])
    with pytest.raises(WorkError, match="could not be uploaded: offline mode is on"):
        upload_folder(Path(online.folder), "org/good", [], [], message="x")


def test_an_upload_is_one_commit_without_hidden_files_and_records(
    hub: type[WritableHub], folder: Path
) -> None:
    result = upload_folder(folder, "org/good", [], [], message="Mine")
    assert hub.sent == {"config.json": b"config.json", "deep/notes.txt": b"deep/notes.txt"}
    assert hub.messages == ["Mine"]
    assert (result.commit, result.created, hub.made) == (NEW, False, [])
    assert [file.name for file in result.files] == sorted(hub.sent)


def test_patterns_of_an_upload(hub: type[WritableHub], folder: Path) -> None:
    upload_folder(folder, "org/good", ["*.json"], ["config*"], message="x")
    assert set(hub.sent) == {"run.json"}


def test_a_repository_is_made_when_asked(hub: type[WritableHub], folder: Path) -> None:
    result = upload_folder(folder, "org/gone", [], [], message="x", create=True, private=True)
    assert result.created
    (made,) = hub.made
    assert (made["name"], made["organization"]) == ("gone", "org")
    assert "private" in json.dumps(made)


def test_a_link_out_of_the_folder_is_not_sent(
    hub: type[WritableHub], folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "notes").symlink_to(tmp_path / "secret")
    with pytest.raises(WorkError, match="a link to a place outside its folder"):
        upload_folder(folder, "org/good", [], [], message="x")
    assert hub.sent == {}


@pytest.mark.parametrize("ref", ["", "@main", "org/name@a@b"])
def test_what_is_no_hub_id(ref: str) -> None:
    with pytest.raises(UsageError, match="is no hub id"):
        list_files(ref, [], [])


def test_an_upload_of_nothing(hub: type[WritableHub], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        upload_folder(tmp_path / "none", "org/good", [], [], message="x")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("gone", 2, "neither a folder here nor a model on the hub"),
        ("gated", 1, "does not give you access"),
        ("old@v9", 2, "no revision v9"),
        ("a b", 2, "neither a folder here nor a possible hub id"),
    ],
)
def test_errors_on_the_command_line_hold_no_token(
    hub: type[WritableHub], name: str, code: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "ls", f"org/{name}", "--json"]) == code
    out, err = capfd.readouterr()
    assert says in json.loads(out)["error"]["what"]
    assert "hf_secret" not in out + err


def test_the_command_line(
    hub: type[WritableHub], folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "ls", "org/good", "--exclude", "*.py", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert listed["schema"] == "tfcli.hub-ls/1"
    assert "modeling_own.py" not in [file["name"] for file in listed["files"]]
    assert run(["hub", "ls", "org/good"]) == 0
    assert "model.safetensors" in capfd.readouterr().out
    words = ["hub", "download", "org/good", str(tmp_path / "out"), "--include", "*.json", "-q"]
    assert run(words) == 0
    assert f"org/good@{COMMIT}" in capfd.readouterr().out
    assert run(["hub", "upload", str(folder), "org/good", "--json", "-q"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["commit"] == NEW
    assert "hf_secret" not in out + err
    assert run(["hub", "upload", str(folder), "org/good", "--private"]) == 2


def test_a_finished_folder_is_sent(
    hub: type[WritableHub], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the same words again nothing is made, and it is sent: the first time may have failed."""
    (tmp_path / "texts.txt").write_text("one text\n\nanother text")
    words = ["data", str(tmp_path / "texts.txt"), str(tmp_path / "out")]
    words += ["--validation", "0", "--test", "0"]
    for _ in range(2):
        assert run([*words, "--push-to-hub", "org/good"]) == 0
        assert f"sent to org/good@{NEW}" in capfd.readouterr().err
    assert "train.jsonl" in hub.sent and "run.json" not in hub.sent
    assert hub.messages == ["tfcli data", "tfcli data"]


def test_what_cannot_be_sent_is_refused_before_the_work(
    hub: type[WritableHub],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "texts.txt").write_text("one text\n\nanother text")
    out = tmp_path / "out"
    words = ["data", str(tmp_path / "texts.txt"), str(out), "--push-to-hub"]
    assert run([*words, "no hub id"]) == 2
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    assert run([*words, "org/good"]) == 2
    assert "hf auth login" in capfd.readouterr().err
    assert not out.exists()
