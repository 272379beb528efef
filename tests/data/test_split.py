"""Documents are dealt whole, by share of characters, by seed."""

import pytest

from tfcli.data.documents import Document
from tfcli.data.split import split_documents
from tfcli.errors import UsageError

DOCUMENTS = [Document(str(n), "x" * (50 + 7 * n % 40)) for n in range(100)]


def split(documents=DOCUMENTS, validation=0.1, test=0.2, seed=0):
    return split_documents(documents, validation=validation, test=test, seed=seed)


def test_every_document_is_in_exactly_one_split():
    parts = split()
    assert sorted(d.id for part in parts.values() for d in part) == sorted(d.id for d in DOCUMENTS)


def test_shares_are_of_characters_and_not_exceeded():
    total = sum(len(d.text) for d in DOCUMENTS)
    size = {name: sum(len(d.text) for d in part) / total for name, part in split().items()}
    assert 0.19 < size["test"] <= 0.2
    assert 0.09 < size["validation"] <= 0.1


def test_the_seed_decides():
    assert split(seed=1) == split(seed=1)
    assert split(seed=1) != split(seed=2)


def test_a_share_of_nothing_is_an_empty_split():
    assert split(validation=0)["validation"] == []


def test_a_split_that_is_asked_for_has_a_document_even_if_none_fits():
    parts = split([Document("a", "x" * 90), Document("b", "x" * 10)], validation=0, test=0.05)
    assert [d.id for d in parts["test"]] == ["b"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_documents_than_splits_are_refused(count):
    with pytest.raises(UsageError, match="cannot be split into 3 parts"):
        split(DOCUMENTS[:count])
