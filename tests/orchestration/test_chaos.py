"""Workers, nodes and drivers are killed at random, and every trial is there once in the end."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from chaos import METATUNE, Chaos, ChaosCluster, chaos_cluster
from flaky_s3 import FlakyS3
from small_networks import SMALL

from metatune import ExperienceStore, Trial
from metatune.trial import TrialState

SPACE = """
[x]
type = "float"
low = 0.0
high = 1.0
[seconds]
type = "categorical"
choices = [0.3]
"""


def ended(store: str) -> int:
    return sum(trial.state.finished for trial in ExperienceStore(store).trials())


def check(store: str, count: int) -> list[Trial]:
    """All trials, none lost, none twice, none failed."""
    trials = ExperienceStore(store).trials()
    assert [trial.number for trial in trials] == list(range(count))
    assert Counter(t.state for t in trials).keys() <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert sorted(t.finished_index or 0 for t in trials) == list(range(count))
    assert all(trial.training.get("failures") is None for trial in trials)
    assert ExperienceStore(store).verify() == []
    return trials


def check_starts(log: Path, trials: list[Trial]) -> Counter[str]:
    """How trials were started: from the beginning, or from a checkpoint, always as they are."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    of = {trial.config["x"]: trial for trial in trials}
    assert {line["x"] for line in lines} <= of.keys()
    return Counter("resumed" if line["step"] else "begun" for line in lines)


def own(tmp_path: Path, store: str, cluster: ChaosCluster, count: int) -> list[str]:
    space = tmp_path / "space.toml"
    space.write_text(SPACE)
    command = [*METATUNE, "search", str(space), "--task", "toy", "--trainable", "trainables:Logged"]
    command += ["--store", store, "--shared-store", "--study", "s", "--optimizer", "random"]
    command += ["--trials", str(count), "--address", cluster.address, "--concurrency", "3"]
    command += ["--max-steps", "6"] if count > 100 else []  # and so with pruning
    return [*command, "--json"]


def wreak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, count: int, kills: int
) -> None:
    """Search with a trainable of the user's while processes are killed."""
    log = tmp_path / "starts.jsonl"
    log.touch()
    monkeypatch.setenv("CHAOS_LOG", str(log))
    with chaos_cluster(tmp_path / "cluster") as cluster:
        chaos = Chaos(cluster, own(tmp_path, store, cluster, count), count, kills, seed=3)
        wall = chaos.run(lambda: len(log.read_text().splitlines()), 550)
    starts = check_starts(log, check(store, count))
    print(f"{count} trials, kills {dict(chaos.counts)}, {wall:.0f} s, starts {dict(starts)}")
    assert chaos.counts.total() == kills
    assert starts["resumed"] > 0 or kills < 20  # of few kills all may hit trials without one


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("count", "kills"), [(20, 3), pytest.param(200, 20, marks=pytest.mark.slow)]
)
def test_whatever_is_killed_every_trial_ends_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, kills: int
) -> None:
    wreak(tmp_path, monkeypatch, str(tmp_path / "store"), count, kills)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_so_does_it_where_every_twentieth_request_to_the_store_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_options: str, s3_uri: str
) -> None:
    with FlakyS3(int(s3_options.rpartition(":")[2]), rate=0.05, seed=1) as flaky:
        store = f"{s3_uri.rpartition(':')[0]}:{flaky.port}"
        wreak(tmp_path, monkeypatch, store, 200, 20)
        print(dict(flaky.counts))
        assert flaky.counts["reset after"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_so_does_it_with_populations(tmp_path: Path) -> None:
    space, store, count, kills = tmp_path / "space.toml", str(tmp_path / "store"), 200, 20
    space.write_text(SMALL.to_toml())
    with chaos_cluster(tmp_path / "cluster") as cluster:
        command = [sys.executable, "small_networks.py", "search", str(space), "--task", "iris"]
        command += ["--population", "8", "--trials", str(count), "--epochs", "60", "--study", "s"]
        command += ["--store", store, "--shared-store", "--address", cluster.address]
        command += ["--concurrency", "3", "--optimizer", "random", "--json"]
        chaos = Chaos(cluster, command, count, kills, seed=4)
        wall = chaos.run(lambda: ended(store), 550)
    trials = check(store, count)
    print(f"{count} members, kills {dict(chaos.counts)}, {wall:.0f} s")
    assert chaos.counts.total() == kills
    assert len({trial.population for trial in trials}) > 1
