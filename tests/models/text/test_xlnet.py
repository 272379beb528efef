"""What XLNet takes beside tokens, against transformers."""

from __future__ import annotations

import pytest
import torch
import transformers

from tests.models.cases.encoders import CASES
from tests.models.parity import assert_close, our_gradients, their_gradients, twin
from tfcli.models.attention_heads import head_mask
from tfcli.models.errors import ModelError

SETTINGS = next(case for case in CASES if case.name == "xlnet").settings


def pair(**settings):
    torch.manual_seed(0)
    theirs = transformers.XLNetLMHeadModel(transformers.XLNetConfig(**SETTINGS, **settings)).eval()
    return theirs, twin(theirs, "permutation-lm")


def permuted(length: int, targets: list[int]) -> dict[str, torch.Tensor]:
    """The targets are predicted one after the other, from the words before them in that order."""
    perm, mapping = torch.zeros(2, length, length), torch.zeros(2, len(targets), length)
    order = [place for place in range(length) if place not in targets] + targets
    for at, place in enumerate(order):
        perm[:, place, order[at:]] = 1
    for number, place in enumerate(targets):
        mapping[:, number, place] = 1
    return {"perm_mask": perm, "target_mapping": mapping}


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_two_streams(segments, padded):
    theirs, ours = pair()
    ids = torch.randint(6, 61, (2, 11))
    batch = permuted(11, [4, 9, 0])
    batch["labels"] = torch.randint(6, 61, (2, 3))
    batch["labels"][0, 1] = -100
    if segments:
        batch["token_type_ids"] = torch.randint(0, 2, (2, 11))
    if padded:
        batch["attention_mask"] = torch.ones(2, 11)
        batch["attention_mask"][0, 7:9] = 0
    actual, expected = ours(ids, **batch), theirs(ids, **batch)
    assert_close(actual.logits, expected.logits)
    assert_close(actual.loss, expected.loss)
    actual.loss.backward()
    expected.loss.backward()
    own, other = our_gradients(ours), their_gradients(theirs)
    largest = max(gradient.abs().max().item() for gradient in other.values())
    for name, gradient in other.items():
        assert (own[name] - gradient).abs().max() <= 2e-5 * largest, name


def test_what_sees_nothing_sees_all_alike():
    theirs, ours = pair()
    ids, batch = torch.randint(6, 61, (2, 5)), permuted(5, [2, 0, 1, 4, 3])
    with torch.no_grad():
        assert_close(ours(ids, **batch).logits, theirs(ids, **batch).logits)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mem_len": 5},
        {"mem_len": 0, "reuse_len": 4},
        {"attn_type": "uni"},
        {"attn_type": "uni", "same_length": True, "clamp_len": 7},
    ],
    ids=str,
)
def test_what_was_before_is_remembered(settings):
    theirs, ours = pair(**settings)
    mems = their_mems = None
    with torch.no_grad():
        for length in (7, 4, 6):
            ids = torch.randint(6, 61, (2, length))
            types = torch.randint(0, 2, ids.shape)
            expected = theirs(ids, token_type_ids=types, mems=their_mems)
            actual = ours(ids, token_type_ids=types, mems=mems)
            assert_close(actual.logits, expected.logits)
            mems, their_mems = actual.mems, expected.mems
            for own, other in zip(mems, their_mems, strict=True):
                assert_close(own, other.transpose(0, 1))


def test_padding_changes_nothing_in_one_direction():
    """Theirs has no such mask."""
    _, ours = pair(attn_type="uni")
    ids, mask = torch.randint(6, 61, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    mask[0, :4] = 0
    with torch.no_grad():
        assert_close(ours(ids, mask).logits[:1, 4:], ours(ids[:1, 4:]).logits)


def test_nothing_is_remembered_unless_it_is_asked_for():
    _, ours = pair()
    ids = torch.randint(6, 61, (2, 5))
    assert ours(ids, use_mems=False).mems is None
    assert ours.train()(ids).mems is None
    assert len(ours(ids, use_mems=True).mems) == 2
    ours.set_activation_checkpointing(True)
    output = ours(ids, use_mems=True, labels=ids)
    output.loss.backward()
    assert len(output.mems) == 2


def test_mems_of_another_model():
    _, ours = pair()
    with pytest.raises(ModelError, match="2 layers, but 1 mems"):
        ours(torch.ones(1, 3, dtype=torch.long), mems=[torch.zeros(1, 4, 32)])


def test_heads_cannot_be_masked():
    _, ours = pair()
    with (
        pytest.raises(ModelError, match="no attention whose heads can be told apart"),
        head_mask(ours, {0: torch.ones(4)}),
    ):
        pass
