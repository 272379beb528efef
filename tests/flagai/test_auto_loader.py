from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from tests.flagai.folders import make, write
from tfcli.errors import UsageError, WorkError
from tfcli.flagai import models, tables
from tfcli.flagai.auto_loader import AutoLoader
from tfcli.flagai.tables import MODELS, TASKS

# The seed's two tables: class, model, task.
SEED = [
    ("GLMModel", "GLM-10b-ch", "lm"),
    ("GLMModel", "GLM-large-ch", "lm"),
    ("BertModel", "RoBERTa-base-ch", "lm"),
    ("GPT2Model", "GPT2-base-ch", "lm"),
    ("T5Model", "T5-base-ch", "lm"),
    ("T5Model", "T5-base-en", "lm"),
    ("BertModel", "BERT-base-en", "lm"),
    ("GLMModel", "GLM-large-en", "lm"),
    ("GLMForSeq2Seq", "GLM-large-ch", "title-generation"),
    ("GLMForSeq2Seq", "GLM-large-ch", "poetry-generation"),
    ("GLMForSeq2Seq", "GLM-large-ch", "seq2seq"),
    ("GLMForSequenceClassification", "GLM-large-ch", "classification"),
    ("BertForSeq2seq", "RoBERTa-base-ch", "title-generation"),
    ("BertForSequenceLabeling", "RoBERTa-base-ch", "NER"),
    ("BertForSequenceLabeling", "RoBERTa-base-ch", "sequence labelling"),
    ("BertForClsClassifier", "RoBERTa-base-ch", "semantic-matching"),
    ("BertForMaskLM", "BERT-base-en", "masked-lm"),
    ("BertForEmbedding", "BERT-base-en", "embedding"),
    ("T5Model", "T5-base-ch", "title-generation"),
    ("BertForSeq2seq", "BERT-base-en", "title-generation"),
    ("GPT2Model", "GPT2-base-en", "language-modelling"),
    ("GLMForSeq2Seq", "GLM-10b-en", "SEQ2SEQ"),
]


@pytest.mark.parametrize(("class_name", "model", "task"), SEED)
def test_the_tables(class_name, model, task):
    for spelt in (model, model.lower(), model.upper()):
        loader = AutoLoader(task, spelt)
        assert (loader.class_name, loader.known.name) == (class_name, model)


def test_every_pair_of_the_tables_has_a_class_of_its_kind():
    for kinds in TASKS.values():
        for kind, name in kinds.items():
            assert getattr(models, name).kind == kind
    assert {known.kind for known in MODELS} == {kind for kinds in TASKS.values() for kind in kinds}


def test_a_pair_that_is_not_built_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match="GLM-large-ch is not built for ner") as caught:
        AutoLoader("ner", "glm-large-ch")
    fix = caught.value.fix
    assert "ner goes with RoBERTa-base-ch, BERT-base-en" in fix
    assert "GLM-large-ch does lm, seq2seq" in fix
    pairs = [(task, known.name) for task in TASKS for known in MODELS]
    refused = [pair for pair in pairs if not built(*pair)]
    assert len(pairs) == 110
    assert ("embedding", "T5-base-ch") in refused and ("lm", "T5-base-ch") not in refused


def built(task, name):
    try:
        AutoLoader(task, name)
    except UsageError:
        return False
    return True


def test_a_name_that_is_not_there_brings_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'GLM-large-ch'"):
        AutoLoader("lm", "glm-larg-ch")
    with pytest.raises(UsageError, match="did you mean 'title-generation'"):
        AutoLoader("titel-generation", "GLM-large-ch")


def test_the_tables_need_no_torch():
    code = (
        "import sys, tfcli.flagai.tables, tfcli.checkpoints.flagai.configs as c; print(c.__name__)"
    )
    code += "\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_loads_the_folder_of_the_name(tmp_path):
    model = make(models.GLMForSeq2Seq)
    write(tmp_path / "GLM-large-ch", model)
    loader = AutoLoader("title-generation", model_name="glm-large-ch", model_dir=tmp_path)
    found = loader.get_model()
    assert type(found) is models.GLMForSeq2Seq
    assert found is loader.get_model()
    assert torch.equal(found.core.lm_head.weight, model.core.lm_head.weight)
    half = AutoLoader("lm", "GLM-large-ch", tmp_path, dtype=torch.bfloat16).get_model()
    assert half.core.dtype == torch.bfloat16


def test_what_was_trained_for_the_task_goes_before(tmp_path):
    write(tmp_path / "BERT-base-en", make(models.BertModel))
    trained = make(models.BertForSequenceLabeling, seed=3, class_num=4)
    write(tmp_path / "BERT-base-en-ner", trained)
    found = AutoLoader("ner", "BERT-base-en", tmp_path).get_model()
    assert torch.equal(found.core.classifier.weight, trained.core.classifier.weight)
    with pytest.warns(UserWarning, match="new random values"):
        fresh = AutoLoader("classification", "BERT-base-en", tmp_path, class_num=7).get_model()
    assert fresh.core.classifier.weight.shape == (7, 32)


def test_the_folder_s_tokenizer(tmp_path):
    folder = write(tmp_path / "BERT-base-en", make(models.BertModel))
    loader = AutoLoader("lm", "BERT-base-en", tmp_path)
    with pytest.raises(WorkError):
        loader.get_tokenizer()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    tokenizer = loader.get_tokenizer()
    assert tokenizer.encode("good bad") == [2, 5, 6, 3]
    assert loader.get_tokenizer() is tokenizer


def test_places_to_fetch_from_are_hub_ids():
    for known in MODELS:
        assert known.hub is None or known.hub.count("/") == 1
    assert tables.find_model("gpt2-base-en").hub == "openai-community/gpt2"
