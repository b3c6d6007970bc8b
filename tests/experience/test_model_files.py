"""Fitted models in the store, in a folder and on S3."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from samples import SPACE

from metatune.errors import DamagedFileError, ExperienceWarning, SchemaVersionError, StoreError
from metatune.experience.sealed import _document, _sha256, to_json
from metatune.experience.store import ExperienceStore

RECORD = {"trials": 3, "space": SPACE.to_dict(), "scale": 1e-310}
ARRAYS = {
    "a": np.asarray([[1.5, np.nan], [-0.0, np.inf]]),
    "text": np.frombuffer(b"[1, 2]", np.uint8),
    "none": np.empty((0, 3)),
}


@pytest.fixture
def store(uri: str) -> ExperienceStore:
    return ExperienceStore(uri)


def change(store: ExperienceStore, name: str, data: bytes | None) -> str:
    """Overwrite a file, or delete it; its path."""
    path = store.path("models", SPACE.id, name)
    if data is None:
        store.filesystem.delete_file(path)
    else:
        with store.filesystem.open_output_stream(path) as stream:
            stream.write(data)
    return path


def content(store: ExperienceStore, name: str) -> bytes:
    with store.filesystem.open_input_stream(store.path("models", SPACE.id, name)) as stream:
        return bytes(stream.read())


def test_a_model_comes_back_as_it_was(store: ExperienceStore) -> None:
    assert store.models(SPACE.id) == []
    model = store.put_model(SPACE.id, RECORD, ARRAYS)
    record, arrays = store.model(SPACE.id, model)
    assert record == RECORD
    assert list(record["space"]) == list(SPACE.to_dict())
    assert sorted(arrays) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].tobytes() == array.tobytes()
        assert arrays[name].shape == array.shape
    assert store.models(SPACE.id) == [(model, RECORD)]
    assert store.verify() == []


def test_the_same_model_is_kept_once_and_another_beside_it(store: ExperienceStore) -> None:
    ids = [store.put_model(SPACE.id, RECORD, ARRAYS) for _ in range(2)]
    ids.append(store.put_model(SPACE.id, RECORD | {"trials": 4}, ARRAYS))
    ids.append(store.put_model(SPACE.id, RECORD, {"a": ARRAYS["a"]}))
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert {model for model, _ in store.models(SPACE.id)} == set(ids)
    assert store.models("another") == []


def test_what_is_no_json_is_refused(store: ExperienceStore) -> None:
    with pytest.raises(StoreError, match="cannot be stored"):
        store.put_model(SPACE.id, {"set": {1, 2}}, ARRAYS)
    assert store.models(SPACE.id) == []


@pytest.mark.parametrize("missing", ["json", "safetensors"])
def test_a_missing_file_is_named(store: ExperienceStore, missing: str) -> None:
    model = store.put_model(SPACE.id, RECORD, ARRAYS)
    path = change(store, f"{model}.{missing}", None)
    with pytest.raises(StoreError, match=path):
        store.model(SPACE.id, model)
    # Without its record there is no model, and arrays alone harm nobody.
    assert len(store.verify()) == (missing == "safetensors")


@pytest.mark.parametrize("damaged", ["json", "safetensors"])
def test_damage_is_named_and_mended_by_putting_it_again(
    store: ExperienceStore, damaged: str
) -> None:
    model = store.put_model(SPACE.id, RECORD, ARRAYS)
    other = store.put_model(SPACE.id, RECORD | {"trials": 4}, ARRAYS)
    data = bytearray(content(store, f"{model}.{damaged}"))
    data[len(data) // 2] ^= 1
    path = change(store, f"{model}.{damaged}", bytes(data))
    with pytest.raises(DamagedFileError, match=path):
        store.model(SPACE.id, model)
    assert len(store.verify()) == 1
    if damaged == "json":
        with pytest.warns(ExperienceWarning, match=path):
            assert [name for name, _ in store.models(SPACE.id)] == [other]
    store.put_model(SPACE.id, RECORD, ARRAYS)
    assert store.verify() == []
    assert store.model(SPACE.id, model)[0] == RECORD


def test_arrays_of_another_model_are_not_taken_for_its_own(store: ExperienceStore) -> None:
    model = store.put_model(SPACE.id, RECORD, ARRAYS)
    other = store.put_model(SPACE.id, RECORD, {"a": ARRAYS["a"]})
    change(store, f"{model}.json", content(store, f"{other}.json"))
    change(store, f"{model}.safetensors", content(store, f"{other}.safetensors"))
    with pytest.raises(DamagedFileError):
        store.model(SPACE.id, model)


def test_a_model_of_a_newer_metatune_is_named(store: ExperienceStore) -> None:
    model = store.put_model(SPACE.id, RECORD, ARRAYS)
    document: dict[str, Any] = json.loads(content(store, f"{model}.json"))
    del document["sha256"]
    document["schema"] = 999
    document["sha256"] = _sha256(to_json(document))
    path = change(store, f"{model}.json", _document(document))
    with pytest.raises(SchemaVersionError, match=path):
        store.model(SPACE.id, model)
    with pytest.warns(ExperienceWarning, match="999"):
        assert store.models(SPACE.id) == []


def test_what_else_lies_among_models_is_damage(store: ExperienceStore) -> None:
    store.put_model(SPACE.id, RECORD, ARRAYS)
    path = change(store, "notes.txt", b"hello")
    assert [damage.path for damage in store.verify()] == [path]
