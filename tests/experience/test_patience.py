"""A store on the network that fails now and then, or does not answer for a while."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flaky_s3 import FlakyS3
from samples import make_study, make_trial

from metatune.errors import InputError, StoreError, StudyLockedError
from metatune.experience.files import Files
from metatune.experience.holder import Holder
from metatune.experience.patience import VARIABLE, Patience
from metatune.experience.sealed import seal
from metatune.experience.store import ExperienceStore

AWAY = "When listing objects: AWS Error NETWORK_CONNECTION during ListObjectsV2 operation"


class Flaky:
    """Fails so many times."""

    def __init__(self, failures: int, message: str = AWAY) -> None:
        self.failures, self.message, self.calls = failures, message, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise StoreError(f"/a: cannot be read: {self.message}")
        return self.calls


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metatune.experience.patience._PAUSE_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
def test_what_passes_is_waited_for_and_said_in_one_line() -> None:
    patience = Patience("s3://b/store", 60.0)
    assert patience(Flaky(0)) == 1
    with pytest.warns(UserWarning, match="does not answer") as said:
        assert patience(Flaky(5)) == 6
    assert [str(warning.message) for warning in said] == [
        "store s3://b/store does not answer (NETWORK_CONNECTION): waiting up to 60 s"
    ]
    with pytest.warns(UserWarning, match=r"does not answer \(UNKNOWN \(HTTP status 503\)\)"):
        patience(Flaky(1, "AWS Error UNKNOWN (HTTP status 503) during PutObject operation"))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("message", ["AWS Error ACCESS_DENIED", "AWS Error NO_SUCH_BUCKET", "?"])
def test_what_does_not_pass_is_raised_at_once(message: str) -> None:
    flaky = Flaky(1, message)
    with pytest.raises(StoreError, match="cannot be read"):
        Patience("s", 60.0)(flaky)
    assert flaky.calls == 1


@pytest.mark.usefixtures("quick")
def test_patience_ends() -> None:
    patience = Patience("s", 0.2)
    patience(Flaky(0))
    with (
        pytest.warns(UserWarning, match="does not answer"),
        pytest.raises(StoreError, match="did not answer for 0 s: give the same command again"),
    ):
        patience(Flaky(10**6))
    once = Flaky(1)
    with pytest.raises(StoreError):
        Patience("s", 0.0)(once)
    assert once.calls == 1


def test_patience_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (-1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="must be a number of seconds of at least 0"):
            Patience("s", wrong)
    monkeypatch.setenv(VARIABLE, "soon")
    with pytest.raises(InputError, match="METATUNE_STORE_PATIENCE = 'soon' must be a number"):
        Files("folder")


@pytest.fixture
def flaky(s3_options: str) -> Iterator[FlakyS3]:
    with FlakyS3(int(s3_options.rpartition(":")[2]), seed=1) as proxy:
        yield proxy


@pytest.fixture
def store(flaky: FlakyS3, s3_uri: str) -> ExperienceStore:
    """A store behind the proxy, which has answered already."""
    opened = ExperienceStore(f"{s3_uri.rpartition(':')[0]}:{flaky.port}")
    opened.put_study(make_study())
    return opened


@pytest.mark.timeout(120)
def test_nothing_is_lost_or_doubled_where_every_fifth_request_fails(
    flaky: FlakyS3, store: ExperienceStore
) -> None:
    trials = [make_trial(number) for number in range(20)]
    flaky.rate = 0.2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for trial in trials:
            store.append([trial])
        assert store.trials() == trials
    assert {kind for kind in flaky.counts if kind.endswith("after")}
    flaky.rate = 0.0
    assert len(Files(store.uri).entries("trials")) == len(trials)
    assert store.verify() == []


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_append_waits_for_a_store_that_does_not_answer(
    flaky: FlakyS3, store: ExperienceStore
) -> None:
    trial = make_trial()
    flaky.is_down = True
    back = threading.Timer(14.0, lambda: setattr(flaky, "is_down", False))
    back.start()
    with pytest.warns(UserWarning, match="does not answer"):
        store.append([trial])
    assert not flaky.is_down
    assert store.trials() == [trial]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("is_taken", [False, True])
def test_a_lease_outlives_an_outage_unless_it_is_taken(
    flaky: FlakyS3, store: ExperienceStore, is_taken: bool
) -> None:
    lease = store.lease("s", heartbeat_seconds=0.5, stale_seconds=4.0).acquire()
    flaky.is_down = True
    time.sleep(5.0)
    with pytest.raises(StoreError, match="NETWORK_CONNECTION"):
        lease.check()
    if is_taken:  # by another, who reaches the store
        other = replace(Holder.this_process(), host="far", machine="another boot", holds=True)
        record = seal({"study": "s", **other.__dict__, "heartbeat": time.time()})
        direct = Files(f"{store.uri.rpartition(':')[0]}:{flaky._target}")
        direct.write(store.path("leases", "s", f"{'f' * 32}.json"), [record])
    flaky.is_down = False
    if is_taken:
        with pytest.raises(StudyLockedError, match="its lease was lost"):
            lease.check()
    else:
        lease.check()
        time.sleep(2.0)
        lease.check()
    lease.release()
