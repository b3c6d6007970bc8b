"""What transfer gains: regret, rank and trials saved beside the peers, on common cells only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from results import Row
from scipy.stats import rankdata

from metatune.parameters import Vectors
from transfer_benchmark.cells import Cell, Run
from transfer_benchmark.methods import AGAIN, ALONE, OURS

COUNTS = (1, 2, 3, 5, 10, 20, 50, 100)
# Share of our cells below which a peer is not compared.
_ENOUGH = 0.25
# (task, seed)
Key = tuple[str, int]


@dataclass(frozen=True, order=True)
class Setting:
    """What runs are compared within."""

    table: str
    protocol: str
    experience: str

    def __str__(self) -> str:
        known = "" if self.experience == "true" else f", {self.experience}"
        return f"{self.table} {self.protocol}{known}"


@dataclass(frozen=True)
class Curves:
    """Of one setting: method -> (task, seed) -> its run."""

    setting: Setting
    runs: Mapping[str, Mapping[Key, Run]]

    @property
    def peers(self) -> list[str]:
        """Every method but our own, its form without memory, baselines run once more, and what was
        run on less than a quarter of our cells."""
        own = (OURS, ALONE, *AGAIN.values())
        enough = _ENOUGH * len(self.runs.get(OURS, ()))
        others = [method for method in self.runs if method not in own]
        return [method for method in others if len(self.common([OURS, method])) >= enough]

    def common(self, methods: Iterable[str]) -> list[Key]:
        """The cells that all these methods have run."""
        cells = [set(self.runs.get(method, ())) for method in methods]
        return sorted(set.intersection(*cells))

    def regrets(self, method: str, keys: Iterable[Key]) -> Vectors:
        """[cells, trials]."""
        return np.asarray([self.runs[method][key].regrets for key in keys])

    def pairs(self) -> dict[str, tuple[Vectors, Vectors]]:
        """Peer -> our regrets and its own [cells, trials] on the cells that both have run."""
        found = {}
        for peer in self.peers:
            keys = self.common([OURS, peer])
            if keys:
                found[peer] = self.regrets(OURS, keys), self.regrets(peer, keys)
        return found


def by_setting(runs: Mapping[Cell, Run]) -> list[Curves]:
    """The curves of every setting."""
    settings: dict[Setting, dict[str, dict[Key, Run]]] = {}
    for cell, run in runs.items():
        setting = Setting(cell.table, cell.protocol, cell.experience)
        of_method = settings.setdefault(setting, {}).setdefault(cell.method, {})
        of_method[cell.task, cell.seed] = run
    return [Curves(setting, methods) for setting, methods in settings.items()]


def gain_rows(curves: Curves) -> list[Row]:
    """All rows on what is gained in one setting."""
    pairs = curves.pairs()
    if not pairs:
        return []
    rows = [*_regret_rows(curves, pairs), _excess_row(curves, pairs), *_rank_rows(curves)]
    return rows + _reach_rows(curves) + _cpu_rows(curves)


def _named(peer: str, ours: Vectors) -> str:
    return f"{peer} ({len(ours)} cells)"


def _regret_rows(curves: Curves, pairs: Mapping[str, tuple[Vectors, Vectors]]) -> list[Row]:
    """The best peer is the one that is furthest ahead of us, or least behind."""
    rows = []
    for count in [n for n in COUNTS if n <= _trials(pairs)]:
        means = {
            peer: (float(ours[:, count - 1].mean()), float(theirs[:, count - 1].mean()))
            for peer, (ours, theirs) in pairs.items()
        }
        best = max(means, key=lambda peer: means[peer][0] - means[peer][1])
        for label, peer in [("best peer: ", best), *[("", peer) for peer in means]]:
            ours, theirs = means[peer]
            name = label + _named(peer, pairs[peer][0])
            rows.append(Row(str(curves.setting), f"mean_regret_at_{count}", ours, name, theirs))
    return rows


def _trials(pairs: Mapping[str, tuple[Vectors, Vectors]]) -> int:
    return min(len(ours[0]) for ours, _ in pairs.values())


def _excess_row(curves: Curves, pairs: Mapping[str, tuple[Vectors, Vectors]]) -> Row:
    """How much more our mean regret is than a peer's at the count and for the peer where that is
    most, beside that peer's regret there."""
    worst = {}
    for peer, (ours, theirs) in pairs.items():
        excess = ours.mean(axis=0) - theirs.mean(axis=0)
        at = int(np.argmax(excess))
        worst[peer] = float(excess[at]), at, float(theirs[:, at].mean())
    peer = max(worst, key=lambda name: worst[name][0])
    excess_there, at, theirs_there = worst[peer]
    name = f"{_named(peer, pairs[peer][0])} at {at + 1}"
    case = str(curves.setting)
    return Row(case, "largest_excess_over_best_peer", excess_there, name, theirs_there)


def _rank_rows(curves: Curves) -> list[Row]:
    """Mean rank among all methods, 1 being best, ties shared."""
    methods = [OURS, *curves.peers]
    keys = curves.common(methods)
    if not keys:
        return []
    regrets = np.stack([curves.regrets(method, keys) for method in methods])
    rows = []
    for count in [n for n in COUNTS if n <= regrets.shape[2]]:
        # Rounded, so that what differs by rounding error shares a rank.
        ranks = rankdata(regrets[:, :, count - 1].round(9), axis=0).mean(axis=1)
        best = int(np.argmin(ranks[1:])) + 1
        name = f"best peer: {methods[best]} ({len(keys)} cells)"
        metric = f"mean_rank_of_{len(methods)}_at_{count}"
        rows.append(Row(str(curves.setting), metric, float(ranks[0]), name, float(ranks[best])))
    return rows


def _reach_rows(curves: Curves) -> list[Row]:
    """Median number of trials until the regret is that of all random trials on the same cell; one
    more than were run where it never is."""
    medians = {}
    for peer in curves.peers:
        keys = curves.common([OURS, peer, "random"])
        if peer != "random" and keys:
            goals = curves.regrets("random", keys)[:, -1]
            ours, theirs = (_reached(curves.regrets(m, keys), goals) for m in (OURS, peer))
            medians[peer] = float(np.median(ours)), float(np.median(theirs)), len(keys)
    if not medians:
        return []
    best = max(medians, key=lambda peer: medians[peer][0] - medians[peer][1])
    rows = []
    for label, peer in [("best peer: ", best), *[("", peer) for peer in medians]]:
        ours_median, theirs_median, cells = medians[peer]
        name = f"{label}{peer} ({cells} cells)"
        metric = "median_trials_to_reach_100_random"
        rows.append(Row(str(curves.setting), metric, ours_median, name, theirs_median))
    return rows


def _reached(regrets: Vectors, goals: Vectors) -> Vectors:
    met = regrets <= goals[:, None]
    first: Vectors = np.where(met.any(axis=1), met.argmax(axis=1), met.shape[1]) + 1.0
    return first


def _cpu_rows(curves: Curves) -> list[Row]:
    """Median CPU seconds of a suggestion around the 10th and the 100th trial."""
    peer = "gp" if "gp" in curves.runs else "tpe"
    if peer not in curves.runs:
        return []
    seconds = {
        method: np.asarray([run.cpu for run in curves.runs[method].values()])
        for method in (OURS, peer)
    }
    rows = []
    for count in (10, 100):
        ours, theirs = (float(np.median(s[:, count - 3 : count])) for s in seconds.values())
        metric = f"cpu_seconds_per_suggestion_around_{count}"
        rows.append(Row(str(curves.setting), metric, ours, peer, theirs))
    return rows


def beside_tpe_rows(curves: Curves) -> list[Row]:
    """Regret beside TPE's alone."""
    keys = curves.common([OURS, "tpe"])
    if not keys:
        return []
    ours, theirs = (curves.regrets(m, keys).mean(axis=0).tolist() for m in (OURS, "tpe"))
    case, name = str(curves.setting), f"tpe ({len(keys)} cells)"
    return [
        Row(case, f"mean_regret_at_{n}", ours[n - 1], name, theirs[n - 1])
        for n in COUNTS
        if n <= len(ours)
    ]
