"""Prefixes: what was read once is not read again, after a restart neither."""

from __future__ import annotations

import pytest
import torch

from tests.generation.making import continued
from tests.models.tiny import tiny_model
from tests.serve.asking import Heard, Letters, ask
from tfcli.models.caches.stores import held
from tfcli.serve.engine import Engine
from tfcli.serve.passes import EngineLimits
from tfcli.serve.prefix_files import PrefixFiles
from tfcli.serve.prefixes import Prefixes

FIRST = [*range(5, 45)]


class Remembering:
    """An engine whose prefixes may be in files."""

    def __init__(self, model, folder=None, most=1 << 30):
        self.files = None if folder is None else PrefixFiles(folder, 1 << 30)
        self.prefixes = Prefixes(most, self.files, lambda: model.make_cache("paged"))
        self.engine = Engine(model, Letters(), EngineLimits(part=16), self.prefixes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.engine.close()
        if self.files is not None:
            self.files.close()

    def answer(self, ids, new=6):
        found, _, end = Heard(self.engine, ask(ids, new)).all()
        return found, end.cached


def second_turn(model):
    return [*FIRST, *continued(model, FIRST, max_new_tokens=6), 7, 8, 9]


@pytest.mark.parametrize("model_type", ["llama", "mistral", "mamba"])
def test_a_second_turn_is_read_from_where_the_first_ended(model_type):
    model = tiny_model(model_type)
    turn = second_turn(model)
    with Remembering(model) as server:
        assert server.answer(FIRST) == (turn[40:46], 0)
        found, cached = server.answer(turn)
    assert found == continued(model, turn, max_new_tokens=6)
    assert cached == 45, "all but the last token of the answer, which was never read"


def test_a_text_that_begins_alike_shares_the_beginning():
    model = tiny_model("llama")
    other = [*FIRST[:30], 50, 51]
    with Remembering(model) as server:
        server.answer(FIRST)
        assert server.answer(other) == (continued(model, other, max_new_tokens=6), 30)
        assert server.answer(FIRST) == (continued(model, FIRST, max_new_tokens=6), 39)
        assert server.answer([1, *FIRST])[1] == 0


def test_prefixes_survive_in_files(tmp_path):
    model = tiny_model("llama")
    turn = second_turn(model)
    with Remembering(model, tmp_path) as server:
        server.answer(FIRST)
    with Remembering(model, tmp_path) as server:
        assert server.answer(turn) == (continued(model, turn, max_new_tokens=6), 45)


def test_a_text_of_one_token_is_in_a_file_too(tmp_path):
    model = tiny_model("llama")
    with Remembering(model, tmp_path) as server:
        server.answer(FIRST, 1)
    with Remembering(model, tmp_path) as server:
        assert server.answer(FIRST, 1)[1] == 39


def test_a_file_stays_until_another_one_holds_more(tmp_path):
    model = tiny_model("llama")
    cache = model.make_cache("paged")
    with Remembering(model, tmp_path) as server, torch.inference_mode():
        model(torch.tensor([FIRST]), cache=cache)
        server.prefixes.keep(FIRST, cache, None, file=True)
        model(torch.tensor([[7]]), cache=cache)
        server.prefixes.keep([*FIRST, 7], cache, None, file=False)
        server.files.close()
        assert len(list(tmp_path.iterdir())) == 1
        server.files.close()


def test_bytes_are_those_that_are_held():
    model = tiny_model("jamba")
    with Remembering(model) as server:
        for first in range(4):
            server.answer([first, *FIRST])
            server.answer([first, *FIRST, 3, 4])
        caches = [entry.cache for entry in server.prefixes._entries]
        tensors = [
            x for cache in caches for store in cache.stores.values() for x in store.tensors()
        ]
        assert server.prefixes.nbytes == held(tensors) > 0


def test_a_damaged_file_is_deleted_and_the_text_read_again(tmp_path):
    model = tiny_model("llama")
    turn = second_turn(model)
    with Remembering(model, tmp_path) as server:
        server.answer(FIRST)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: len(content) - 100])
    (tmp_path / "half.part").write_bytes(b"")
    with Remembering(model, tmp_path) as server:
        assert not list(tmp_path.iterdir())
        assert server.answer(turn) == (continued(model, turn, max_new_tokens=6), 0)


def test_memory_is_bounded_and_pages_are_shared():
    model = tiny_model("llama")
    with Remembering(model) as server:
        server.answer(FIRST)
        one = server.prefixes.nbytes
        server.answer([*FIRST[:30], 50, 51])
        assert one < server.prefixes.nbytes <= 2 * one
    with Remembering(model, most=one) as server:
        for first in range(5):
            server.answer([first, *FIRST])
            assert server.prefixes.nbytes <= one
        assert server.answer([4, *FIRST])[1] == 40
        assert server.answer([0, *FIRST])[1] == 0


def test_old_files_are_deleted_where_they_take_too_much(tmp_path):
    model = tiny_model("llama")
    cache = model.make_cache("paged")
    with torch.inference_mode():
        model(torch.tensor([FIRST]), cache=cache)
    files = PrefixFiles(tmp_path, 1 << 30)
    files.write(FIRST, None, cache.copy())
    files.close()
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    files = PrefixFiles(tmp_path, 2 * size + size // 2)
    for first in range(4):
        files.write([first, *FIRST[1:]], None, cache.copy())
    files.close()
    assert [kept.ids[0] for kept in PrefixFiles(tmp_path, 1).kept()] == [2, 3]
