"""Which processor a folder has."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoImageProcessor

from tests.processors.images.pictures import drawn
from tfcli.errors import UsageError, WorkError
from tfcli.processors import registry
from tfcli.processors.images.bit import BitImageProcessor
from tfcli.processors.images.clip import CLIPImageProcessor
from tfcli.processors.images.processor import ImageProcessor
from tfcli.processors.images.vit import ViTImageProcessor
from tfcli.processors.load import load_image_processor


def write(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"image_processor_type": "CLIPImageProcessor"}, CLIPImageProcessor),
        ({"image_processor_type": "CLIPImageProcessorFast"}, CLIPImageProcessor),
        ({"feature_extractor_type": "CLIPFeatureExtractor"}, CLIPImageProcessor),
        (
            {
                "feature_extractor_type": "CLIPFeatureExtractor",
                "image_processor_type": "BitImageProcessor",
            },
            BitImageProcessor,
        ),
        ({"feature_extractor_type": "ViTFeatureExtractor"}, ViTImageProcessor),
    ],
)
def test_the_file_says_which(settings, expected, tmp_path):
    write(tmp_path, preprocessor_config=settings | {"size": 30, "crop_size": 20})
    ours = load_image_processor(tmp_path)
    assert type(ours) is expected
    other = AutoImageProcessor.from_pretrained(tmp_path)
    image = drawn(50, 40)
    expected = other(image, return_tensors="pt").pixel_values
    torch.testing.assert_close(ours(image).pixel_values, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("model_type", registry.IMAGES_OF_MODEL_TYPE)
def test_else_the_config_does(model_type, tmp_path):
    write(tmp_path, preprocessor_config={"do_resize": True}, config={"model_type": model_type})
    ours = load_image_processor(tmp_path)
    other = type(AutoImageProcessor.from_pretrained(tmp_path)).__name__
    assert other.removesuffix("Pil") in ours.names


def test_the_file_of_transformers_5_counts_first(tmp_path):
    joint = {
        "image_processor": {"image_processor_type": "CLIPImageProcessor", "crop_size": 7},
        "processor_class": "CLIPProcessor",
    }
    write(tmp_path, processor_config=joint, preprocessor_config={"size": 9})
    assert load_image_processor(tmp_path).settings.crop_size.height == 7
    del joint["image_processor"]  # as it was before
    older = {"image_processor_type": "ViTImageProcessor", "size": 9}
    write(tmp_path, processor_config=joint, preprocessor_config=older)
    assert load_image_processor(tmp_path).settings.size.height == 9


def test_what_does_not_say_or_is_not_known(tmp_path):
    with pytest.raises(WorkError, match="there is no preprocessor_config"):
        load_image_processor(tmp_path)
    write(tmp_path, preprocessor_config={"size": 4})
    with pytest.raises(WorkError, match="does not say which"):
        load_image_processor(tmp_path)
    write(tmp_path, preprocessor_config={"image_processor_type": "CLIPImagProcessor"})
    with pytest.raises(WorkError, match="did you mean 'CLIPImageProcessor'"):
        load_image_processor(tmp_path)
    write(tmp_path, preprocessor_config={"image_processor_type": ["x"]})
    with pytest.raises(WorkError, match="image_processor_type is no text"):
        load_image_processor(tmp_path)
    write(tmp_path, processor_config={"image_processor": 3})
    with pytest.raises(WorkError, match="expected a JSON object"):
        load_image_processor(tmp_path)


def test_one_of_your_own(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_own", {})

    class Mine(ImageProcessor):
        names = ("MyImageProcessor",)

    registry.register(Mine)
    registry.register(Mine)
    write(tmp_path, preprocessor_config={"image_processor_type": "MyImageProcessor"})
    assert type(load_image_processor(tmp_path)) is Mine
    with pytest.raises(UsageError, match="already"):
        registry.register(type("Other", (Mine,), {}))
    with pytest.raises(UsageError, match="already"):
        registry.register(Mine, "CLIPImageProcessor")
    with pytest.raises(UsageError, match="no from_pretrained"):
        registry.register(int)
