"""Which kernels there are, chosen by the processor and by TFCLI_KERNELS, and why there are none."""

from __future__ import annotations

import pytest

from tfcli.models import processor
from tfcli.models.errors import ModelError
from tfcli.models.kernels import build, library
from tfcli.models.kernels.library import LEVELS, status


@pytest.fixture(autouse=True)
def _anew(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(library.VARIABLE, raising=False)
    library.forget()
    yield
    library.forget()


def has(monkeypatch, *features: str) -> None:
    monkeypatch.setattr(processor, "features", lambda: frozenset(features))


@pytest.mark.parametrize("name", list(LEVELS))
def test_the_most_that_the_processor_has_is_used(monkeypatch, name):
    has(monkeypatch, *LEVELS[name].needs)
    found = status()
    assert (found.level, found.built, found.reason) == (name, False, "")
    assert str(found) == f"{name}, to be compiled at first use"


def test_less_can_be_asked_for_but_not_more(monkeypatch):
    has(monkeypatch, *LEVELS["avx512_vnni"].needs)
    for asked, level in (("avx2", "avx2"), ("avx512_bf16", "avx512_vnni")):
        monkeypatch.setenv(library.VARIABLE, asked)
        assert status().level == level
    assert status().path != library.LEVELS["avx2"]


def test_a_processor_or_system_without_is_told(monkeypatch):
    has(monkeypatch, "sse4_2")
    assert status().reason == "the processor has no AVX2"
    assert library.library() is None
    assert str(status()) == "none, torch's products serve: the processor has no AVX2"
    monkeypatch.setattr(build, "is_possible", lambda: False)
    assert "x86 processors under Linux" in status().reason


def test_off_is_off_and_other_words_are_refused(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "off")
    assert library.library() is None and status().reason == "TFCLI_KERNELS is off"
    assert library.is_unwanted()
    monkeypatch.setenv(library.VARIABLE, "fast")
    for function in (library.library, status):
        with pytest.raises(ModelError, match="TFCLI_KERNELS is 'fast'"):
            function()


def test_a_failure_is_kept_with_its_reason_and_not_tried_again(monkeypatch):
    tries = []

    def fail(*_):
        tries.append(1)
        raise build.BuildError("the compiler failed: no")

    monkeypatch.setattr(build, "build", fail)
    assert library.library() is None and library.library() is None
    assert len(tries) == 1
    assert status().level is None and status().reason == "the compiler failed: no"


def test_a_library_that_does_not_load_is_compiled_once_more(monkeypatch):
    monkeypatch.setenv(library.VARIABLE, "avx2")
    if status().level is None:
        pytest.skip(status().reason)
    path = status().path
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_bytes(b"half a library")
    path.chmod(0o700)
    assert library.library() is not None
    assert path.read_bytes()[:4] == b"\x7fELF" and status().built
