from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from metatune.errors import ConfigurationError, DataError
from metatune.networks.architectures.building import build
from metatune.networks.data.docstrings import docstrings
from metatune.networks.data.documents import are_documents, words
from metatune.networks.data.loading import load, prepare
from metatune.networks.data.tables import Table, text
from metatune.networks.data.tokens import FIRST, PADDING, UNKNOWN, TokenShape, word_shares
from metatune.networks.settings import Settings

_CODE = """
from metatune.networks.data.loading import load
data = load("docstrings")
print(data.data_hash, data.train.inputs.double().sum().item(), data.words[:50])
"""


def _table(documents: list[str]) -> Table:
    target = np.arange(len(documents)) % 2
    return Table("here", {}, {"target": target}, documents=text(np.array(documents)))


def test_words_have_ids_by_frequency_and_documents_are_padded() -> None:
    documents = ["The cat, the DOG."] * 20 + ["a cat"] * 30 + [f"cat only{n}" for n in range(20)]
    dataset = prepare(_table(documents), "pets")
    assert dataset.words[0] == "cat"
    assert not any(word.startswith("only") for word in dataset.words)
    assert isinstance(dataset.shape, TokenShape)
    assert tuple(dataset.shape) == (4,)
    assert dataset.shape.vocabulary == FIRST + len(dataset.words)
    ids = {word: FIRST + index for index, word in enumerate(dataset.words)}
    rows = {tuple(row) for row in dataset.train.inputs.int().tolist()}
    assert (ids["the"], ids["cat"], ids["the"], ids["dog"]) in rows
    assert (ids["cat"], UNKNOWN, PADDING, PADDING) in rows


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=20, max_size=40))
def test_any_text_becomes_token_ids_or_a_named_error(documents: list[str]) -> None:
    try:
        dataset = prepare(_table(documents), "any")
    except DataError as error:
        said = str(error)
        event(said)
        if "no two training documents have a word in common" in said:
            return
        raise
    assert isinstance(dataset.shape, TokenShape)
    for split in (dataset.train, dataset.validation, dataset.test):
        ids = split.inputs.numpy()
        assert ((ids >= 0) & (ids < dataset.shape.vocabulary) & (ids == np.round(ids))).all()
        padded = ids == PADDING
        assert (padded[:, 1:] >= padded[:, :-1]).all(), "padding is behind the words"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([f"document number {n} of all" for n in range(20)], True),
        (["red", "green", "blue"] * 9, False),
        ([f"name{n} surname{n}" for n in range(20)], False),
        (["one of two sentences", "the other one of them"] * 9, False),
        ([""] * 9, False),
    ],
)
def test_documents_are_told_from_categories(values: list[str], said: bool) -> None:
    assert are_documents(text(np.array(values))) is said


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_of_texts_and_labels_is_read_as_documents(tmp_path: Path, ending: str) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    rows = 60
    mails = [f"win money now {n}" if n % 2 else f"see you at lunch {n}" for n in range(rows)]
    table = pa.table({"mail": mails, "kind": ["spam" if n % 2 else "ham" for n in range(rows)]})
    path = tmp_path / f"mails.{ending}"
    write = pyarrow.csv.write_csv if ending == "csv" else pyarrow.parquet.write_table
    write(table, path)
    dataset = load(path, "kind")
    assert dataset.labels == ("ham", "spam")
    assert "money" in dataset.words
    assert any("'mail': read as documents" in line for line in dataset.report)
    task = dataset.task()
    assert all(np.isfinite(value) for value in task.metafeatures.values())
    assert task.metafeatures["landmark_linear"] < 0.1, "words, not ids, are what is compared"


def test_a_column_called_text_is_read_as_documents_beside_others(tmp_path: Path) -> None:
    lines = ["day,text,other,target"]
    lines += [
        f"{n},{'good' if n % 2 else 'bad'} day at sea {n},no {n} a b,{n % 2}" for n in range(60)
    ]
    path = tmp_path / "days.csv"
    path.write_text("\n".join(lines))
    dataset = load(path)
    assert "good" in dataset.words
    assert [line for line in dataset.report if "left out" in line] == [
        "column 'day': left out beside documents", "column 'other': left out beside documents",
    ]  # fmt: skip
    path.write_text("\n".join(lines).replace("text", "remark"))
    assert not load(path).words
    path.write_text("\n".join(re.sub(" day at sea [0-9]+", "", line) for line in lines))
    assert not load(path).words, "categories, whatever they are called"


def test_docstrings_are_real_text_without_the_name_of_their_package() -> None:
    labels, texts = docstrings()
    assert set(labels) == {"python", "numpy", "scipy", "sklearn", "torch"}
    assert len(set(texts)) == len(texts) > 1_500
    for label, document in zip(labels, texts, strict=True):
        assert label not in words(document)


@pytest.mark.slow
def test_docstrings_are_the_same_in_another_process() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", _CODE],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_networks_that_take_quantities_refuse_token_ids() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'mlp' must be one of \['bag_of_embeddings', 'transformer'\]"
    ):
        build(Settings({"network": "mlp"}), TokenShape((8,), 20), 2)


def test_word_shares_count_words_and_no_padding() -> None:
    tokens = np.array([[FIRST, FIRST, FIRST + 1, PADDING], [UNKNOWN] * 4], dtype=np.float32)
    shares = word_shares(tokens, most=2)
    assert np.allclose(shares, [[8 / 3, 4 / 3], [0.0, 0.0]])
