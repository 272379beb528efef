"""Qwen2-VL: positions, how a text goes on after media, the tower's layouts, and what is refused."""

from __future__ import annotations

import pytest
import torch

from tests.models.media_cases.qwen2_vl import CASES, IMAGE, MERGE, VALUES, VIDEO, with_media
from tests.models.parity import CACHES, assert_close
from tests.models.test_media_parity import batch, reference, twin
from tfcli.models import processor
from tfcli.models.errors import ModelError
from tfcli.models.loading import build, load_weights
from tfcli.models.multimodal.mrope import rope_index
from tfcli.models.registry import read_config
from tfcli.models.vision.qwen2_vl import layout_of

pytestmark = pytest.mark.families
IMAGES, VIDEOS, _, TEXT = WHOLE = CASES[:4]
SETTINGS = {"model_type": "qwen2_vl", **IMAGES.settings}
GRIDS = {"image_grid_thw": 1, "video_grid_thw": 2}


@pytest.fixture(scope="module")
def theirs():
    return {case.name: reference(case) for case in WHOLE}


def pad_left(inputs, row, width):
    """The inputs with a mask, and padding before one row in place of its last words."""
    inputs = dict(inputs)
    mask = torch.ones_like(inputs["input_ids"])
    mask[row, :width] = 0
    for name in ("input_ids", "mm_token_type_ids"):
        if name in inputs:
            inputs[name] = inputs[name].clone()
            inputs[name][row] = inputs[name][row].roll(width)
            inputs[name][row, :width] = 0
    return inputs | {"attention_mask": mask}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("case", [IMAGES, VIDEOS], ids=lambda case: case.name)
def test_positions_are_theirs(theirs, case, padded):
    inputs = batch(case)
    if padded:
        inputs = pad_left(inputs, 0, 3)
    mask = inputs.get("attention_mask")
    taken = ("input_ids", "mm_token_type_ids", "attention_mask", *GRIDS)
    expected, deltas = theirs[case.name].model.get_rope_index(
        **{name: inputs[name] for name in taken if name in inputs}
    )
    grids = {kind: inputs[name] for name, kind in GRIDS.items() if name in inputs}
    start = torch.zeros(1, 1, dtype=torch.long)
    found, after = rope_index(inputs["mm_token_type_ids"], grids, MERGE, start, mask)
    seen = torch.ones_like(inputs["input_ids"]) if mask is None else mask
    here = seen[:, None].bool().expand_as(found)
    assert torch.equal(found[here], expected.transpose(0, 1)[here])
    assert torch.equal(after - seen.sum(-1, keepdim=True), deltas)


@pytest.mark.parametrize("attention", ["sdpa", "flex"])
@pytest.mark.parametrize("case", [IMAGES, VIDEOS], ids=lambda case: case.name)
def test_padding(theirs, case, attention):
    inputs = pad_left(batch(case), 0, 3)
    ours = twin(case, theirs[case.name], attention=attention)
    real = inputs["attention_mask"].bool()
    with torch.no_grad():
        expected = theirs[case.name](**inputs).logits
        assert_close(ours(**inputs).logits[real], expected[real])
        del inputs["mm_token_type_ids"]  # ids say the same
        assert_close(ours(**inputs).logits[real], expected[real])


@pytest.mark.parametrize("case", [IMAGES, VIDEOS, TEXT], ids=lambda case: case.name)
@pytest.mark.parametrize("kind", CACHES)
def test_a_text_goes_on_as_theirs_does(theirs, case, kind):
    """Their own loop of generation against ours: a prompt that is padded, then one word a step."""
    inputs, steps = pad_left(batch(case), 0, 2), 4
    ours = twin(case, theirs[case.name])
    with torch.no_grad():
        expected = theirs[case.name].generate(
            **inputs,
            max_new_tokens=steps,
            min_new_tokens=steps,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        cache = CACHES[kind](ours, inputs["input_ids"].shape[1] + steps)
        mask, given = inputs["attention_mask"], inputs
        for logits in expected.logits:
            found = ours(**given, cache=cache).logits[:, -1]
            assert_close(found, logits)
            words = logits.argmax(-1, keepdim=True)
            mask = torch.cat((mask, torch.ones_like(words)), 1)
            given = {"input_ids": words, "attention_mask": mask}


@pytest.mark.parametrize("kind", CACHES)
def test_an_image_may_come_with_a_later_question(theirs, kind):
    ours, inputs = (
        twin(IMAGES, theirs[IMAGES.name]),
        with_media([[(1, 4, 6), (1, 2, 4)]])(torch.Generator().manual_seed(0), 1),
    )
    ids, first = inputs["input_ids"], 24
    cut = 2 + 1 + 6 + 1 + 1  # after the first image
    with torch.no_grad():
        whole = ours(**inputs).logits
        cache = CACHES[kind](ours, ids.shape[1])
        parts = [
            ours(
                input_ids=ids[:, words],
                pixel_values=inputs["pixel_values"][patches],
                image_grid_thw=inputs["image_grid_thw"][image],
                cache=cache,
            ).logits
            for words, patches, image in (
                (slice(0, cut), slice(0, first), slice(0, 1)),
                (slice(cut, None), slice(first, None), slice(1, 2)),
            )
        ]
    assert_close(torch.cat(parts, 1), whole)


def test_a_cache_keeps_the_shift(theirs, tmp_path):
    """Through copies, other rows and files; only what came with media cannot be cut."""
    ours, inputs = twin(IMAGES, theirs[IMAGES.name]), batch(IMAGES)
    word = torch.tensor([[5], [6]])
    with torch.no_grad():
        cache = ours.make_cache()
        ours(**inputs, cache=cache)
        expected = ours(input_ids=word, cache=cache.copy()).logits
        cache.save(tmp_path / "cache.safetensors")
        again = ours.make_cache("static", cache.length + 1)
        again.load(tmp_path / "cache.safetensors")
        assert_close(ours(input_ids=word, cache=again).logits, expected)
        swapped = cache.copy()
        swapped.reorder(torch.tensor([1, 0]))
        assert_close(ours(input_ids=word.flip(0), cache=swapped).logits.flip(0), expected)
        length = cache.length
        ours(input_ids=word, cache=cache)
        cache.crop(length)
        assert_close(ours(input_ids=word, cache=cache).logits, expected)
        with pytest.raises(ModelError, match="positions within what came with media"):
            cache.crop(length - 1)
        cache.crop(0)
        plain = ours(input_ids=word).logits
        assert_close(ours(input_ids=word, cache=cache).logits, plain)


@pytest.mark.parametrize("case", [IMAGES, VIDEOS], ids=lambda case: case.name)
def test_where_a_grid_cannot_be_read_frames_are_segments(theirs, case, monkeypatch):
    ours, inputs = twin(case, theirs[case.name]), batch(case)
    with torch.no_grad():
        expected = ours(**inputs).logits
        monkeypatch.setattr(processor, "can_read", lambda x: False)
        assert layout_of(torch.tensor([[2, 2, 2]]), 8, 2).frames.tolist() == [[0] * 4 + [1] * 4]
        assert_close(ours(**inputs).logits, expected)


@pytest.mark.parametrize("grid", [[[2, 4, 6]], [[1, 4, 4], [3, 4, 4]], [[1, 2, 4], [2, 4, 2]]])
def test_the_tower_alone(theirs, grid):
    visual = theirs[IMAGES.name].model.visual
    ours = build(read_config(visual.config.to_dict()), "embedding")
    load_weights(ours, visual.state_dict())
    grid = torch.tensor(grid)
    inputs = {"hidden_states": torch.randn(int(grid.prod(1).sum()), VALUES), "grid_thw": grid}
    with torch.no_grad():
        found, expected = ours.eval()(**inputs), visual(**inputs)
    assert_close(found.last_hidden_state.flatten(0, 1), expected.last_hidden_state)
    assert_close(found.pooler_output, expected.pooler_output)


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_nothing_is_read_from_a_device(case):
    model = build(read_config(SETTINGS | case.settings)).eval()
    inputs = {name: value.to("meta") for name, value in batch(case).items()}
    cache = model.make_cache()
    with torch.no_grad():
        model(**inputs, cache=cache)
        model(input_ids=inputs["input_ids"][:, :1], cache=cache)


def test_positions_of_the_caller_are_taken(theirs):
    ours, inputs = twin(IMAGES, theirs[IMAGES.name]), batch(IMAGES)
    shape = (3, *inputs["input_ids"].shape)
    positions = torch.randint(0, 40, shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs[IMAGES.name](**inputs, position_ids=positions).logits
        assert_close(ours(**inputs, position_ids=positions).logits, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_grid_thw": None}, "each image goes with a row of image_grid_thw"),
        ({"image_grid_thw": torch.tensor([[1, 4, 6]])}, "says 24 patches, but there are 48"),
        (
            {"image_grid_thw": torch.tensor([[1, 3, 16]])},
            r"rows and columns must be multiples of spatial_merge_size \(2\)",
        ),
        ({"pixel_values": torch.zeros(48, 5)}, r"shape \(24, 5\), expected \[patches, 96\]"),
        (
            {"mm_token_type_ids": torch.zeros(2, 3)},
            r"mm_token_type_ids has shape \(2, 3\)",
        ),
    ],
)
def test_inputs_that_do_not_fit_together(theirs, changes, message):
    ours, inputs = twin(IMAGES, theirs[IMAGES.name]), batch(IMAGES)
    with pytest.raises(ModelError, match=message):
        ours(**inputs | changes)


def part(name, **changes):
    return {name: SETTINGS[name] | changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            part("vision_config", hidden_size=24),
            "vision_config.hidden_size is 24, but text_config.hidden_size is 32",
        ),
        (part("vision_config", num_heads=16), "num_heads is 16, so a head has 2 of embed_dim"),
        (
            part("text_config", rope_parameters={"rope_type": "default", "mrope_section": [2, 3]}),
            r"must be three numbers of pairs, not \[2, 3\]",
        ),
        (
            part("text_config", rope_parameters={"mrope_section": [2, 3, 4]}),
            r"is \[2, 3, 4\], 9 pairs in all, but a head of 16 has 8",
        ),
        ({"video_token_id": IMAGE}, f"video_token_id is {IMAGE}, which is image_token_id too"),
        ({"vision_end_token_id": VIDEO}, f"is {VIDEO}, which is video_token_id too"),
    ],
)
def test_configs_that_contradict_themselves(changes, message):
    with pytest.raises(ModelError, match=message):
        read_config(SETTINGS | changes)


def test_sections_are_for_families_that_have_them():
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3]}
    with pytest.raises(ModelError, match=r"rope_parameters.mrope_section is not supported"):
        read_config({"model_type": "qwen2", "rope_parameters": rope})


def test_a_file_of_earlier_days_has_the_language_model_beside_the_tower():
    """The form of the released models: flat, M-RoPE as a type of its own."""
    text = dict(SETTINGS["text_config"])
    rope = text.pop("rope_parameters")
    flat = {
        **{key: value for key, value in SETTINGS.items() if key != "text_config"},
        **text,
        "rope_theta": rope["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]},
        "vision_config": SETTINGS["vision_config"] | {"model_type": "qwen2_vl", "in_chans": 3},
        "tie_word_embeddings": True,
        "use_cache": True,
    }
    config, nested = read_config(flat), read_config(SETTINGS)
    assert config.text_config.replace(extra={}) == nested.text_config
    assert config.vision_config.replace(extra={}) == nested.vision_config
    assert config.tie_word_embeddings
    assert read_config(config.to_dict()) == config


def test_each_text_of_a_packed_row_begins_at_the_first_position():
    """Rotary positions do not tell: what is turned by as much more is as far apart."""
    kinds = torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0]])
    grids = torch.tensor([[1, 4, 4], [1, 2, 4]])
    segments = torch.tensor([[0] * 7 + [1] * 4])
    packed, _ = rope_index(kinds, {1: grids}, 2, torch.tensor([[0]]), segments=segments)
    alone = [
        rope_index(kinds[:, :7], {1: grids[:1]}, 2, torch.tensor([[0]]))[0],
        rope_index(kinds[:, 7:], {1: grids[1:]}, 2, torch.tensor([[0]]))[0],
    ]
    assert torch.equal(packed, torch.cat(alone, -1))
