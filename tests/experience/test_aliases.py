"""Names that differ for the same parameter."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatune.errors import InputError
from metatune.experience.aliases import Aliases, renamed_space
from metatune.experience.store import ExperienceStore
from metatune.parameters import Categorical, Float, Parameter
from metatune.space import SearchSpace
from metatune.study import Study
from metatune.task import Task
from metatune.trial import Suggestion, Trial, TrialState

RATE = Float(1e-5, 1e-1, log=True)
THEIRS = SearchSpace(
    {"optim": Categorical(("sgd", "adam")), "optimizer/lr": RATE, "beta_1": Float(0.5, 0.99)},
    {"beta_1": {"optim": ("adam",)}},
)
NAMES = st.sampled_from(["lr", "LR", "eta", "learning-rate", "bs", "batch size", "mine", "Mine"])


def store_with(folder: Path, space: SearchSpace, **config: str | float) -> ExperienceStore:
    store = ExperienceStore(folder)
    store.put_study(Study("old", Task("theirs"), space, trials=1))
    trial = Trial("old", 0, Suggestion(dict(config), "random"), 0)
    ended = {"state": TrialState.COMPLETE, "value": 0.5, "finished_index": 0}
    store.append([Trial(**{**trial.__dict__, **ended})])
    return store


def space_of(**parameters: Parameter) -> SearchSpace:
    return SearchSpace(parameters)


def test_spellings_and_separators_of_a_known_name_are_alike() -> None:
    aliases = Aliases.shipped()
    names = ("lr", "LR", "Learning-Rate", "optimizer.lr", "optimizer/lr", "learning_rate")
    assert {aliases.canonical(name) for name in names} == {"learning_rate"}
    assert aliases.canonical("Whatever") == "Whatever"


@given(st.lists(NAMES, unique=True), st.lists(NAMES, unique=True))
def test_a_name_is_taken_for_one_other_or_for_none(theirs: list[str], ours: list[str]) -> None:
    aliases = Aliases.shipped()
    found = aliases.between(theirs, ours)
    assert set(found) <= set(theirs)
    assert set(found.values()) <= set(ours)
    assert len(set(found.values())) == len(found)
    for name, own in found.items():
        assert name != own
        assert aliases.canonical(name) == aliases.canonical(own)
        assert own not in theirs
    assert Aliases.of(found).between(theirs, ours) == found


def test_the_shipped_table_says_nothing_twice() -> None:
    names = Aliases.shipped().canonical_names
    assert all(names[canonical] == canonical for canonical in names.values())


def test_past_tasks_speak_in_the_names_of_the_space_that_asks(tmp_path: Path) -> None:
    ours = space_of(
        optimizer=Categorical(("sgd", "adam")), learning_rate=RATE, beta1=Float(0.5, 0.99)
    )
    config: dict[str, str | float] = {"optim": "adam", "optimizer/lr": 0.01, "beta_1": 0.9}
    store = store_with(tmp_path, THEIRS, **config)
    assert store.cutoff(ours) == {"old": 1}
    [past] = store.past_tasks(ours)
    assert past.space.parameters == ours.parameters
    assert past.space.when == {"beta1": {"optimizer": ("adam",)}}
    assert past.trials[0].config == {"optimizer": "adam", "learning_rate": 0.01, "beta1": 0.9}
    assert store.trials()[0].config == config
    assert store.past_tasks()[0].space == THEIRS
    sampled = store.past_tasks(ours, most=1)
    assert sampled[0].trials[0].config == past.trials[0].config


def test_the_aliases_of_a_study_hold_whatever_the_table_says(tmp_path: Path) -> None:
    store = store_with(tmp_path, space_of(lr=RATE), lr=0.01)
    ours = space_of(learning_rate=RATE)
    assert store.cutoff(ours, aliases=Aliases.of({})) == {}
    assert store.past_tasks(ours, aliases=Aliases.of({})) == []
    assert store.past_tasks(space_of(pace=RATE)) == []
    [past] = store.past_tasks(space_of(pace=RATE), aliases=Aliases.of({"lr": "pace"}))
    assert past.trials[0].config == {"pace": 0.01}


def test_a_store_has_names_of_its_own(tmp_path: Path) -> None:
    store = store_with(tmp_path, space_of(eta=RATE, tempo=RATE), eta=0.01, tempo=0.1)
    ours = space_of(learning_rate=RATE)
    assert store.past_tasks(ours)[0].trials[0].config == {"learning_rate": 0.01, "tempo": 0.1}
    (tmp_path / "aliases.toml").write_text('eta = []\nlearning_rate = ["Tempo"]\n')
    again = ExperienceStore(tmp_path)
    assert again.past_tasks(ours)[0].trials[0].config == {"eta": 0.01, "learning_rate": 0.1}
    assert again.verify() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate = 3", r"learning_rate = 3 must be a list of names"),
        ("optim.lr = ['lr']", r"must be a list of names; a name with a dot stands in quotes"),
        ("a = ['x']\nb = ['X']", r"'X' is said to mean both 'a' and 'b'"),
        ("a = [", "not TOML"),
    ],
)
def test_a_table_that_is_none_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "aliases.toml").write_text(text)
    with pytest.raises(InputError, match=rf"aliases\.toml: .*{said}"):
        ExperienceStore(tmp_path).aliases()


def test_a_space_keeps_what_is_not_renamed() -> None:
    assert renamed_space(THEIRS, {}) is THEIRS
    kept = renamed_space(THEIRS, {"optim": "optimizer"})
    assert kept.names == ["optimizer", "optimizer/lr", "beta_1"]
