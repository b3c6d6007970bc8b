"""The parts of `benchmarks/control_plane.py --scale`, as rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from results import Row

from control_plane_benchmark.members import train
from control_plane_benchmark.turns import Measured, in_turns

_SLICE_SECONDS = 10.0
_QUICK_SLICE_SECONDS = 2.0
_MEMORY = 16e3  # MB
_BARE = "bare Ray Tune, reuse_actors"


def random_rows(quick: bool) -> list[Row]:
    """Random proposals."""
    trials = 300 if quick else 10_000
    case = f"{trials:,} trials at random, 2 at a time"
    ours, theirs = _pair("metatune", "bare", trials, 2, 1, quick)
    growth = "driver_megabytes_per_1000_trials"
    rows = _common(case, ours, theirs, _BARE)
    if not quick:  # or what is there at the start hides it
        rows += [
            Row(case, growth, ours.megabytes(), _BARE, theirs.megabytes()),
            Row(case, growth, ours.megabytes(0.6), "from 20% to 60%", ours.megabytes(0.2, 0.6)),
            Row(case, "trial_files", float(ours.record["files"]), "trials", trials),
        ]
    return rows


def tpe_rows(quick: bool) -> list[Row]:
    """TPE on ten numbers."""
    trials = 100 if quick else 1000
    case = f"{trials:,} trials with TPE, 2 at a time"
    peer = "Ray Tune with OptunaSearch"
    ours, theirs = _pair("tpe", "optuna", trials, 2, 10, quick)
    spent = ours.proposal_milliseconds, theirs.proposal_milliseconds
    return [
        *_common(case, ours, theirs, peer),
        Row(case, "proposal_cpu_milliseconds_per_trial", spent[0], peer, spent[1]),
        Row(case, "share_of_time_in_proposals", ours.proposal_share, peer, theirs.proposal_share),
    ]


def slot_rows(quick: bool) -> list[Row]:
    """Many processes of trials at a time."""
    slots, trials = (4, 12) if quick else (32, 480)
    case = f"{trials:,} trials of 5 s, {slots} at a time"
    ours, theirs = _pair("metatune", "bare", trials, slots, 1, quick)
    rows = _common(case, ours, theirs, _BARE)
    for metric, value, peer in (
        ("processes", ours.record["processes"], theirs.record["processes"]),
        ("megabytes_per_process", ours.process_megabytes, theirs.process_megabytes),
        ("processes_in_16_GB_extrapolated", ours.slots(_MEMORY), theirs.slots(_MEMORY)),
    ):
        rows.append(Row(case, metric, float(value), _BARE, float(peer)))
    return rows


def member_rows(quick: bool) -> list[Row]:
    """Members of one population, of which half as many are the peer."""
    members, epochs = (64, 3) if quick else (1000, 10)
    case, peer = f"population of {members:,}, digits", f"population of {members // 2:,}"
    half, whole = train(members // 2, epochs), train(members, epochs)
    return [
        Row(case, "recorded_once", whole.recorded_once, "asked for", members),
        Row(case, "seconds_per_epoch", whole.epoch_seconds, peer, half.epoch_seconds),
        Row(case, "calls_to_the_driver", whole.calls, peer, half.calls),
        Row(case, "megabytes_of_all", whole.largest_bytes / 1e6, peer, half.largest_bytes / 1e6),
    ]


PARTS: Mapping[str, Callable[[bool], list[Row]]] = {
    "random": random_rows,
    "tpe": tpe_rows,
    "slots": slot_rows,
    "members": member_rows,
}
# What has a bar, within a minute.
QUICK_PARTS = ("random",)


def _pair(
    side: str, peer: str, trials: int, slots: int, dimensions: int, quick: bool
) -> tuple[Measured, Measured]:
    cases = {
        name: {"side": name, "trials": trials, "slots": slots, "dimensions": dimensions}
        for name in (peer, side)
    }
    measured = in_turns(cases, _QUICK_SLICE_SECONDS if quick else _SLICE_SECONDS)
    return measured[side], measured[peer]


def _common(case: str, ours: Measured, theirs: Measured, peer: str) -> list[Row]:
    per = "cpu_milliseconds_per_trial"
    return [
        Row(case, "trials_per_second", ours.rate, peer, theirs.rate),
        Row(case, f"driver_{per}", ours.driver_milliseconds, peer, theirs.driver_milliseconds),
        Row(case, f"all_{per}", ours.all_milliseconds, peer, theirs.all_milliseconds),
    ]
