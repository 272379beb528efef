"""Adapters that requests choose, beside each other and beside the model itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import torch

from tests.serve.conftest import serving
from tfcli.adapters.write import save_adapter
from tfcli.checkpoints.folder import load_model
from tfcli.errors import UsageError
from tfcli.models.adapters.attach import add_adapter
from tfcli.models.adapters.settings import AdapterSettings
from tfcli.serve.run import named_adapters, named_models
from tfcli.serve.spec import ServeSpec


@pytest.fixture(scope="module")
def adapters(chat_llama, tmp_path_factory):
    """Two adapters: names -> folders."""
    found = {}
    for number, name in enumerate(("one", "two")):
        model = load_model(chat_llama)
        add_adapter(model, AdapterSettings(rank=2, target_modules=("up_proj",)))
        torch.manual_seed(number)
        for key, parameter in model.named_parameters():
            if key.endswith("lora_B.weight"):
                parameter.data.normal_()
        found[name] = tmp_path_factory.mktemp("adapters") / name
        save_adapter(model, found[name], base=str(chat_llama))
    return found


def test_each_request_gets_the_text_of_its_adapter(chat_llama, adapters):
    names = ["tiny", "tiny:one", "tiny:two"]
    given = [f"{name}={folder}" for name, folder in adapters.items()]
    with serving(chat_llama, adapters=given) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        assert [each.id for each in client.models.list()] == names

        def text(name):
            found = client.completions.create(
                model=name, prompt="The sky", max_tokens=20, temperature=0
            )
            return found.choices[0].text

        alone = [text(name) for name in names]
        assert len(set(alone)) == 3
        with ThreadPoolExecutor(9) as threads:
            assert list(threads.map(text, names * 6)) == alone * 6
        with pytest.raises(openai.NotFoundError, match="tiny:one"):
            text("tiny:on")


def test_names_say_which_adapter_of_which_model_it_is():
    spec = ServeSpec(models=["a/x", "y=b/x"], adapters=["x:p=1", "y:p=2"])
    assert named_models(spec) == {"x": "a/x", "y": "b/x"}
    assert named_models(ServeSpec(models=["."])) == {Path.cwd().name: "."}
    assert named_adapters(spec, ["x", "y"]) == {"x": {"p": "1"}, "y": {"p": "2"}}
    for wrong in ("p=1", "z:p=1", "p"):
        with pytest.raises(UsageError):
            named_adapters(ServeSpec(models=["x", "y"], adapters=[wrong]), ["x", "y"])
    with pytest.raises(UsageError, match="two models"):
        named_models(ServeSpec(models=["a/x", "b/x"]))
