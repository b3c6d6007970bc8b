"""A model that was kept is the model that was fitted."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_cases import SPACES, GivenMemory, ended, lived, past_tasks, study_of, value_of

from metatune.errors import DamagedFileError, SchemaVersionError
from metatune.experience.store import ExperienceStore
from metatune.optimizers.model_record import from_record, to_record
from metatune.optimizers.random import RandomSearch
from metatune.optimizers.transfer import Transfer
from metatune.optimizers.transfer_model import TransferModel

NAMES = ["tree", "choices", "log", "integers"]


def model_of(space: str) -> TransferModel:
    model = GivenMemory(SPACES[space], past_tasks(SPACES[space])).model()
    assert model is not None
    return model


@pytest.mark.parametrize("name", NAMES)
def test_it_survives_the_store(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    model, space = model_of(name), SPACES[name]
    store = ExperienceStore(tmp_path_factory.mktemp("store"))
    kept = store.put_model(space.id, *to_record(model))
    again = from_record(*store.model(space.id, kept))
    assert again.space.id == space.id
    assert store.put_model(space.id, *to_record(again)) == kept
    points = model.features.of([space.sample(np.random.default_rng(n)) for n in range(50)])
    assert again.values(points).tobytes() == model.values(points).tobytes()
    assert lived(Transfer(again), space, 3, 6) == lived(Transfer(model), space, 3, 6)


@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 5),
    count=st.integers(0, 6),
    value=st.floats(-10, 10),
)
@settings(max_examples=15, deadline=None)
def test_proposals_are_the_same_to_the_last_bit(
    name: str, seed: int, count: int, value: float
) -> None:
    model, space = model_of(name), SPACES[name]
    record, arrays = to_record(model)
    again = from_record(json.loads(json.dumps(record)), arrays)
    trials = [
        ended(number, suggestion, value_of(space, suggestion.config) * value)
        for number, suggestion in enumerate(
            RandomSearch().suggest(study_of(space), [], count, seed) if count else []
        )
    ]
    expected = Transfer(model).suggest(study_of(space, seed), trials, 1, seed)
    assert Transfer(again).suggest(study_of(space, seed), trials, 1, seed) == expected


def test_records_of_another_version_and_with_gaps_are_refused() -> None:
    record, arrays = to_record(model_of("log"))
    with pytest.raises(SchemaVersionError, match="version 99"):
        from_record({**record, "version": 99}, arrays)
    with pytest.raises(DamagedFileError, match=r"lacks '0.points'"):
        from_record(record, {name: a for name, a in arrays.items() if name != "0.points"})
    with pytest.raises(DamagedFileError, match="lacks 'prior'"):
        from_record({key: value for key, value in record.items() if key != "prior"}, arrays)


@pytest.mark.parametrize("junk", [None, -1, "x", [], {}, [{}], 1e308, {"a": [1]}])
def test_records_of_strangers_are_damaged_files_or_models(junk: object) -> None:
    record, arrays = to_record(model_of("log"))
    fields = record["surrogates"][0]
    changed = [{**record, key: junk} for key in record.keys() - {"version"}]
    changed += [{**record, "surrogates": [{**fields, key: junk}]} for key in fields]
    changed += [{**record, "prior": {**record["prior"], key: junk}} for key in record["prior"]]
    for one in changed:
        with suppress(DamagedFileError):
            from_record(one, arrays)
    for name in arrays:
        for shape in ((0,), (3, 2), ()):
            with suppress(DamagedFileError):
                from_record(record, {**arrays, name: np.ones(shape)})
