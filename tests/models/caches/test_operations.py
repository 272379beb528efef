"""After each operation on a cache, a model goes on as it would from a fresh pass.

Families that cache in ways of their own meet every kind; the others one in turn, and one operation.
"""

from __future__ import annotations

from itertools import cycle

import pytest
import torch

from tests.models.parity import STEADY, Case, assert_close, inputs, pair_id, reference, twin
from tests.models.seq2seq_parity import LM
from tests.models.seq2seq_parity import inputs as seq2seq_inputs
from tests.models.seq2seq_parity import reference as seq2seq_reference
from tfcli.models.cache import Cache
from tfcli.models.caches.fixed import FixedSlidingStore, FixedStore
from tfcli.models.caches.recurrent import StateStore
from tfcli.models.errors import ModelError
from tfcli.models.model import Model

SETTINGS = {
    "dynamic": {},
    "static": {"length": 24},
    "paged": {},
    "offloaded": {},
    "quantized": {"residual": 64},  # all positions are recent ones, and so exact
}
UNLIKE = (
    "Llama",
    "Mistral",
    "Gemma3Text",
    "DeepseekV3",
    "Llama4Text",
    "Bloom",
    "GPT2",
    "Mamba",
    "Rwkv",
    "Qwen3Next",
    "Lfm2",
    "FalconH1",
)
OPERATIONS = ("crop", "select", "reorder", "copy", "save")
FIRST = {case.config.removesuffix("Config"): case for case, _ in reversed(STEADY)}


def each_choice(operation: str) -> pytest.MarkDecorator:
    """The families that are unlike with every kind, and a share of all cases with one in turn."""
    share = [case for case, _ in STEADY][OPERATIONS.index(operation) :: len(OPERATIONS)]
    chosen = [(FIRST[name], kind) for name in UNLIKE for kind in SETTINGS]
    chosen += [pair for pair in zip(share, cycle(SETTINGS), strict=False) if pair not in chosen]
    return pytest.mark.parametrize(("case", "kind"), chosen, ids=pair_id)


PAST = 9


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


class Begun:
    """A model that has read 9 tokens of two rows, the first of which may begin with padding."""

    def __init__(self, case: Case, kind: str, padded: int = 0) -> None:
        self.model: Model = twin(reference(case, "causal-lm"), "causal-lm")
        self.kind = kind
        self.ids = inputs(case, "causal-lm", length=PAST + 4)["input_ids"]
        self.mask = torch.ones_like(self.ids)
        self.mask[0, :padded] = 0
        self.past, self.next = self.ids[:, :PAST], self.ids[:, PAST:]
        self.cache = self.empty()
        self.model(self.past, attention_mask=self.mask[:, :PAST], cache=self.cache)

    def empty(self, kind: str | None = None) -> Cache:
        kind = kind or self.kind
        return self.model.make_cache(kind, **SETTINGS[kind])

    def goes_on(self, cache: Cache, past: torch.Tensor, mask: torch.Tensor, more: torch.Tensor):
        """The cache stands for `past`: what comes after it has the logits of one pass over all."""
        whole = torch.cat((past, more), 1)
        mask = torch.cat((mask, torch.ones_like(more)), 1)
        expected = self.model(whole, attention_mask=mask).logits[:, past.shape[1] :]
        found = []
        for at in range(more.shape[1]):
            end = past.shape[1] + at + 1
            step = self.model(more[:, at : at + 1], attention_mask=mask[:, :end], cache=cache)
            found.append(step.logits)
        assert_close(torch.cat(found, 1), expected)
        assert cache.length == whole.shape[1]


@each_choice("crop")
def test_cropped(case, kind):
    text = Begun(case, kind)
    stores = text.cache.stores.values()
    gone = any(isinstance(each, StateStore) for each in stores) or any(
        isinstance(each, FixedSlidingStore) and each.window < PAST for each in stores
    )
    if gone:
        with pytest.raises(ModelError, match="cannot be cropped from 9 to 5") as error:
            text.cache.crop(5)
        assert error.value.where.startswith("layer ") and "copy" in error.value.fix
        text.cache.crop(PAST)  # nothing to forget
        text.goes_on(text.cache, text.past, text.mask[:, :PAST], text.next)
        return
    text.cache.crop(5)
    text.goes_on(text.cache, text.past[:, :5], text.mask[:, :5], text.next)


@each_choice("select")
def test_selected_as_beams_do(case, kind):
    text, rows = Begun(case, kind, padded=3), torch.tensor([1, 0, 1])
    text.cache.select(rows)
    assert text.cache.rows == 3
    text.goes_on(text.cache, text.past[rows], text.mask[rows, :PAST], text.ids[rows, -2:])


@each_choice("reorder")
def test_reordered(case, kind):
    text, rows = Begun(case, kind, padded=3), torch.tensor([1, 0])
    before = [x.data_ptr() for store in text.cache.stores.values() for x in store.tensors()]
    text.cache.reorder(rows)
    after = [x.data_ptr() for store in text.cache.stores.values() for x in store.tensors()]
    assert (before == after) == (kind == "static")
    text.goes_on(text.cache, text.past[rows], text.mask[rows, :PAST], text.next)


@each_choice("copy")
def test_copied(case, kind):
    text = Begun(case, kind)
    copy = text.cache.copy()
    text.goes_on(text.cache, text.past, text.mask[:, :PAST], text.next)
    text.goes_on(copy, text.past, text.mask[:, :PAST], text.next.flip(1))


@each_choice("save")
def test_kept_in_a_file(case, kind, tmp_path):
    text = Begun(case, kind, padded=3)
    text.cache.save(tmp_path / "prefix.safetensors", text="the beginning")
    again = text.empty()
    text.model(text.past[:1].flip(1), cache=again)  # it is replaced
    assert again.load(tmp_path / "prefix.safetensors") == {"text": "the beginning"}
    text.goes_on(again, text.past, text.mask[:, :PAST], text.next)


@pytest.mark.parametrize("name", ["Llama", "Mamba"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_prefix_of_a_growing_cache_goes_into_every_kind(name, kind, tmp_path):
    text = Begun(FIRST[name], "dynamic")
    text.cache.save(tmp_path / "prefix.safetensors")
    other = text.empty(kind)
    other.load(tmp_path / "prefix.safetensors")
    text.goes_on(other, text.past, text.mask[:, :PAST], text.next)


def seq2seq(case, kind):
    """A model, a cache that stands for 5 tokens of a target, and the whole input."""
    model = twin(seq2seq_reference(case, "seq2seq-lm"), "seq2seq-lm")
    batch = seq2seq_inputs(case, "seq2seq-lm")
    cache = model.make_cache(kind, **SETTINGS[kind])
    target = batch["decoder_input_ids"]
    model(input_ids=batch["input_ids"], decoder_input_ids=target[:, :5], cache=cache)
    return model, cache, batch["input_ids"], target


@pytest.mark.parametrize(
    ("case", "kind"),
    [(case, kind) for (case, _), kind in zip(LM, cycle(SETTINGS), strict=False)],
    ids=pair_id,
)
def test_an_encoder_decoder_goes_on_too(case, kind, tmp_path):
    model, cache, source, target = seq2seq(case, kind)
    cache.save(tmp_path / "target.safetensors")
    copy, loaded = cache.copy(), model.make_cache(kind, **SETTINGS[kind])
    loaded.load(tmp_path / "target.safetensors")
    whole = model(input_ids=source, decoder_input_ids=target).logits
    for each in (copy, loaded):
        assert_close(model(decoder_input_ids=target[:, 5:], cache=each).logits, whole[:, 5:])
    rows = torch.tensor([1, 1, 0])
    cache.select(rows)
    cache.crop(3)
    found = model(decoder_input_ids=target[rows, 3:], cache=cache).logits
    assert_close(found, whole[rows, 3:])


def test_what_is_packed_is_cropped_and_kept_as_it_is(tmp_path):
    """Positions in few bits are the same bits in a copy, in a file and after a crop."""
    text = Begun(FIRST["Llama"], "quantized")

    def packed() -> Cache:
        cache = text.model.make_cache("quantized", residual=2, group_size=4)
        text.model(text.past, cache=cache)
        return cache

    first, second = packed(), packed()
    first.save(tmp_path / "packed.safetensors")
    loaded = text.model.make_cache("quantized", residual=2, group_size=4)
    loaded.load(tmp_path / "packed.safetensors")
    expected = text.model(text.next, cache=second).logits
    assert torch.equal(text.model(text.next, cache=loaded).logits, expected)
    # 9 positions are 6 packed and 3 recent: 7 leave one of those, 4 none and fewer packed ones.
    for length in (7, 4):
        cut = packed()
        whole = cut.store(0).content()
        cut.crop(length)
        for name, tensor in cut.store(0).content().items():
            end = length - 6 if name.endswith("recent") else length
            assert torch.equal(tensor, whole[name][:, :, :end]), name
        assert cut.length == cut.kept(0) == length
        text.model(text.next, cache=cut)
        assert cut.kept(0) == length + 4


def test_a_sliding_cache_whose_window_moved_says_so():
    text = Begun(FIRST["Mistral"], "dynamic")
    text.model(text.past[:, :1].expand(2, 300), cache=text.cache)
    with pytest.raises(ModelError, match="no longer has those before that"):
        text.cache.crop(100)
    assert text.cache.length == 309


def test_what_cannot_be_is_refused_before_anything_changes(tmp_path):
    text = Begun(FIRST["Llama"], "dynamic")
    cache, path = text.cache, tmp_path / "prefix.safetensors"
    cache.save(path)
    with pytest.raises(ModelError, match="holds 9 positions and cannot be cropped to 10"):
        cache.crop(10)
    with pytest.raises(ModelError, match=r"rows 0 to 1, but \[0, 2\] are asked"):
        cache.select(torch.tensor([0, 2]))
    with pytest.raises(ModelError, match="3 rows cannot be a new order of 2"):
        cache.reorder(torch.tensor([0, 1, 1]))
    with pytest.raises(ModelError, match="cannot be called 'length'"):
        cache.save(path, length="9")
    with pytest.raises(ModelError, match="the file holds 9 positions, and 8 fit"):
        text.model.make_cache("static", 8).load(path)
    mamba = Begun(FIRST["Mamba"], "dynamic")
    with pytest.raises(ModelError, match="written by another model"):
        mamba.cache.load(path)
    text.empty("quantized").save(path)
    with pytest.raises(ModelError, match="'8 bits, groups of 64, rotated' in the file"):
        cache.load(path)
    (tmp_path / "other").write_text("no tensors")
    with pytest.raises(ModelError, match="cannot be read"):
        cache.load(tmp_path / "other")
    with pytest.raises(ModelError, match="made for another model"):
        mamba.model(mamba.next, cache=cache)
    text.goes_on(cache, text.past, text.mask[:, :PAST], text.next)


def test_a_layer_that_fails_leaves_the_cache_as_it_was(monkeypatch):
    """Of every kind: layers before it had given theirs, and the next pass is right all the same."""
    for name in ("Llama", "Mamba", "Mistral"):
        for kind in SETTINGS:
            text = Begun(FIRST[name], kind)
            last = text.model.blocks[-1]

            def fail(*args: object) -> None:
                raise RuntimeError("out of memory")

            for failing in (text.next[:, :1], text.next):
                monkeypatch.setattr(last, "forward", fail)
                with pytest.raises(RuntimeError, match="out of memory"):
                    text.model(failing.flip(1), cache=text.cache)
                monkeypatch.undo()
                assert text.cache.length == PAST
            text.goes_on(text.cache, text.past, text.mask[:, :PAST], text.next)


def test_a_static_cache_is_used_by_another_batch_after_a_reset():
    text = Begun(FIRST["Llama"], "static")
    assert isinstance(text.cache.store(0), FixedStore)
    with pytest.raises(ModelError, match=r"holds 2 rows, .* but 1 rows"):
        text.model(text.next[:1], cache=text.cache)
    text.cache.reset()
    found = text.model(text.past[:1], cache=text.cache).logits
    assert_close(found, text.model(text.past[:1]).logits)
