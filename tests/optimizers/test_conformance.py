"""What every optimizer must do, in every space."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from optimizer_cases import OPTIMIZERS, SEEDLESS, SPACES, ended, lived, study_of, value_of

from metatune.errors import ConfigurationError
from metatune.optimizers.optimizer import MetaOptimizer
from metatune.space import Config, SearchSpace
from metatune.trial import Report, Trial, TrialState

TRIALS = 20
POINTS = {"one point": 1, "one choice of two": 2}

every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)
every_space = pytest.mark.parametrize("space", SPACES)


def fresh(optimizer: str, space: str) -> MetaOptimizer:
    return OPTIMIZERS[optimizer](SPACES[space])


@cache
def life(optimizer: str, space: str, seed: int = 0) -> tuple[Trial, ...]:
    return tuple(lived(fresh(optimizer, space), SPACES[space], seed, TRIALS))


def configs(trials: tuple[Trial, ...]) -> list[Config]:
    return [trial.config for trial in trials]


@every_optimizer
@every_space
class TestConformance:
    def test_proposals_fit_the_space_and_say_where_they_come_from(
        self, optimizer: str, space: str
    ) -> None:
        for trial in life(optimizer, space):
            assert repr(SPACES[space].check(trial.config)) == repr(trial.config)
            assert SPACES[space].decode(SPACES[space].encode(trial.config)) == trial.config
            assert trial.suggestion.optimizer in str(fresh(optimizer, space)) + "random"
            if trial.suggestion.tasks:
                assert math.fsum(trial.suggestion.tasks.values()) <= 1.0 + 1e-6
                assert min(trial.suggestion.tasks.values()) > 0.0

    def test_the_seed_decides(self, optimizer: str, space: str) -> None:
        again = tuple(lived(fresh(optimizer, space), SPACES[space], 0, TRIALS))
        assert again == life(optimizer, space)
        if POINTS.get(space) != 1 and (optimizer, space) not in SEEDLESS:
            assert configs(life(optimizer, space, 1)) != configs(again)

    def test_resumed_it_goes_on_as_if_it_had_never_stopped(
        self, optimizer: str, space: str
    ) -> None:
        whole = life(optimizer, space)
        for number in (0, 1, 6, 13, TRIALS - 1):
            resumed = fresh(optimizer, space)
            suggestion = resumed.suggest(study_of(SPACES[space]), whole[:number], 1, 0)[0]
            assert suggestion == whole[number].suggestion

    def test_a_batch_equals_a_sequence(self, optimizer: str, space: str) -> None:
        study = study_of(SPACES[space])
        known = [*life(optimizer, space)[:18]]
        batch = fresh(optimizer, space).suggest(study, known, 2, 0)
        first, second = batch
        assert first == life(optimizer, space)[18].suggestion
        known.append(Trial("study", 18, first, 0))
        assert fresh(optimizer, space).suggest(study, known, 1, 0) == [second]

    def test_what_is_running_is_not_proposed_again(self, optimizer: str, space: str) -> None:
        study = study_of(SPACES[space])
        proposed: list[Trial] = []
        for suggestion in fresh(optimizer, space).suggest(study, life(optimizer, space), 2, 0):
            running = [trial.config for trial in proposed]
            if len(running) < POINTS.get(space, TRIALS):
                assert suggestion.config not in running
            proposed.append(Trial("study", TRIALS + len(proposed), suggestion, 0))

    def test_given_values_are_kept(self, optimizer: str, space: str) -> None:
        rng = np.random.default_rng(0)
        made = fresh(optimizer, space)
        study = study_of(SPACES[space])
        known = life(optimizer, space)
        wanted = SPACES[space].sample(rng)
        names = list(wanted)
        for given in ({names[0]: wanted[names[0]]}, {names[-1]: wanted[names[-1]]}, wanted):
            suggestion = made.suggest(study, known, 1, 0, given=given)[0]
            config = SPACES[space].check(suggestion.config)
            assert all(config[name] == given[name] for name in config if name in given)
        assert config == wanted

    def test_any_history_is_survived(self, optimizer: str, space: str) -> None:
        study = study_of(SPACES[space])
        known = [*mishaps(SPACES[space], life("random", space))]
        for suggestion in fresh(optimizer, space).suggest(study, known, 2, 0):
            SPACES[space].check(suggestion.config)
        hopeless = [t for t in known if t.state is TrialState.FAILED or t.value is None]
        for suggestion in fresh(optimizer, space).suggest(study, hopeless, 1, 0):
            SPACES[space].check(suggestion.config)

    def test_no_global_random_state_is_touched(self, optimizer: str, space: str) -> None:
        before = (random.getstate(), repr(np.random.get_state()), torch.get_rng_state())  # noqa: NPY002 what is checked
        fresh(optimizer, space).suggest(study_of(SPACES[space]), life(optimizer, space), 1, 0)
        after = (random.getstate(), repr(np.random.get_state()), torch.get_rng_state())  # noqa: NPY002 what is checked
        assert before[:2] == after[:2]
        assert torch.equal(before[2], after[2])


def mishaps(space: SearchSpace, trials: tuple[Trial, ...]) -> list[Trial]:
    """The trials with every way to end badly, and one that still runs, among them."""
    suggestions = [trial.suggestion for trial in trials]
    value = value_of(space, trials[0].config)
    bad = [
        ended(0, suggestions[0], value, TrialState.FAILED),
        ended(1, suggestions[1], math.nan),
        ended(2, suggestions[2], math.inf),
        ended(3, suggestions[3], -math.inf),
        ended(4, suggestions[4], value, TrialState.PRUNED),
        ended(5, suggestions[5], math.nan, TrialState.PRUNED),
        Trial("study", 6, suggestions[6], 0, state=TrialState.PRUNED, finished_index=6),
        Trial("study", 7, suggestions[7], 0, state=TrialState.FAILED, error="out of memory"),
        Trial("study", 8, suggestions[8], 0, curve=(Report(1, math.nan, 1.0),)),
        Trial("study", 9, suggestions[9], 0, TrialState.COMPLETE, value=math.nan),
        Trial("study", 10, suggestions[10], 0, TrialState.COMPLETE, value=-math.inf),
        ended(11, suggestions[11], 1e300),
    ]
    good = [ended(12 + n, trial.suggestion, 1.0 + n) for n, trial in enumerate(trials)]
    return [*bad, *good]


@every_optimizer
class TestSettings:
    def test_its_words_name_it_alone(self, optimizer: str) -> None:
        made = fresh(optimizer, "tree")
        words = str(made)
        assert words == str(fresh(optimizer, "floats"))
        made.suggest(study_of(SPACES["tree"]), life("random", "tree"), 1, 0)
        assert str(made) == words
        assert "0x" not in words
        assert len(words) < 80

    def test_given_that_does_not_fit_is_named(self, optimizer: str) -> None:
        study = study_of(SPACES["tree"])
        with pytest.raises(ConfigurationError, match="given: colour is no parameter"):
            fresh(optimizer, "tree").suggest(study, [], 1, 0, given={"colour": "red"})
        with pytest.raises(ConfigurationError, match="given: optimizer = 'adagrad' is not in"):
            fresh(optimizer, "tree").suggest(study, [], 1, 0, given={"optimizer": "adagrad"})


def test_another_process_proposes_the_same(tmp_path: Path) -> None:
    code = (
        "import json; from optimizer_cases import *;"
        "space = SPACES['tree'];"
        "print(json.dumps({name: [[t.config, dict(t.suggestion.tasks)] for t in "
        "lived(make(space), space, 0, 20)] for name, make in OPTIMIZERS.items()}))"
    )
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[1])])
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stderr == ""
    for name, trials in json.loads(answer.stdout).items():
        ours = [[t.config, dict(t.suggestion.tasks)] for t in life(name, "tree")]
        assert trials == ours, name


@every_optimizer
def test_an_unknown_end_is_learned_from_as_a_pruned_one(optimizer: str) -> None:
    study, whole = study_of(SPACES["tree"]), life(optimizer, "tree")
    proposals = []
    for state in (TrialState.PRUNED, TrialState.UNKNOWN):
        known = [replace(t, state=state) if t.number % 3 == 0 else t for t in whole]
        proposals.append(fresh(optimizer, "tree").suggest(study, known, 1, 0))
    assert proposals[0] == proposals[1]
