"""The SLURM script, with `srun` and `scontrol` that run everything on this host: first with a Ray
and a search that only say what they were given, then (slow) with the real ones."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from metatune.experience.store import ExperienceStore
from metatune.trial import TrialState

SCRIPT = Path(__file__).parents[2] / "cluster" / "slurm" / "metatune.sbatch"
JOB = 4711
NODES = ["node1", "node2", "node3"]
SEARCH = ["mlp", "--task=iris", "--trials=6", "--optimizer=random", "--population=1", "--epochs=3"]
COMMANDS = {  # of SLURM; then a Ray and a search that only say what they were given
    "srun": """#!/usr/bin/env bash
        while [[ $1 == -* ]]; do
            case $1 in --nodelist=*) export SLURMD_NODENAME=${1#*=} ;; esac
            shift
        done
        exec "$@"
    """,
    "scontrol": """#!/usr/bin/env bash
        case $1 in
        show) printf '%s\\n' $NODES ;;
        *) echo "$*" >>"$RECORD/scontrol" ;;
        esac
    """,
    "ray": """#!/usr/bin/env bash
        for word; do case $word in --temp-dir=*) folder=${word#*=} ;; esac; done
        mkdir "$folder"
        echo "$*" >>"$RECORD/ray"
        stat -c '%a %n' "$RAY_AUTH_TOKEN_PATH" "$(dirname "$folder")" >>"$RECORD/modes"
        if [[ $SLURMD_NODENAME == "${BROKEN:-}" ]]; then echo "no luck"; exit 1; fi
        echo "Ray runtime started."
        exec sleep 1000
    """,
    "metatune": f"""#!{sys.executable}
import os, pathlib, sys, time
with open(pathlib.Path(os.environ["RECORD"], "metatune"), "a") as file:
    print(*sys.argv[1:], file=file, flush=True)
try:
    time.sleep(float(os.environ["SEARCH_SECONDS"]))
except KeyboardInterrupt:
    sys.exit(130)
sys.exit(int(os.environ["SEARCH_CODE"]))
    """,
}


class Job:
    """The script in a SLURM job of its own, and what its commands wrote down."""

    def __init__(self, folder: Path, commands: list[str]) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.mark = f"metatune-test-{folder}"
        for name in ("bin", "record", "shared", "tmp"):
            (folder / name).mkdir()
        for name in commands:
            lines = COMMANDS[name].splitlines()
            (folder / "bin" / name).write_text(
                "\n".join(line.removeprefix(" " * 8) for line in lines)
            )
            (folder / "bin" / name).chmod(0o755)
        self.environment = os.environ | {
            "PATH": os.pathsep.join(
                [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            "RECORD": str(folder / "record"),
            "MARK": self.mark,
            "NODES": " ".join(NODES),
            "SEARCH_SECONDS": "0",
            "SEARCH_CODE": "0",
            "METATUNE_STORE": str(self.store),
            "METATUNE_SHARED": str(folder / "shared"),
            "SLURM_JOB_ID": str(JOB),
            "SLURM_JOB_NODELIST": "node[1-3]",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_MEM_PER_NODE": "1000",
            "TMPDIR": str(folder / "tmp"),
        }

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        # What is ignored here stays ignored below: as where tests run in the background of a shell.
        heard = ["env", "--default-signal=INT,QUIT"]
        return subprocess.Popen(
            [*heard, "bash", str(SCRIPT), *arguments],
            env=self.environment | variables,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        process = self.start(*arguments, **variables)
        said, _ = process.communicate(timeout=200)
        return process.returncode, said

    def read(self, name: str) -> list[str]:
        path = self.folder / "record" / name
        return path.read_text().splitlines() if path.exists() else []

    def left(self) -> list[str]:
        """Processes of the job that are still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("MARK") == self.mark:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found

    def check_nothing_left(self) -> None:
        assert self.left() == []
        assert list((self.folder / "shared").iterdir()) == []
        for line in self.read("modes"):
            assert not Path(line.split(" ", 1)[1]).exists()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    yield from _job(tmp_path, ["srun", "scontrol", "ray", "metatune"])


@pytest.fixture
def real_job(tmp_path: Path) -> Iterator[Job]:
    """With the Ray and the search that are installed."""
    yield from _job(tmp_path, ["srun", "scontrol"])


def _job(folder: Path, commands: list[str]) -> Iterator[Job]:
    job = Job(folder, commands)
    yield job
    for process in psutil.process_iter():  # of a test that failed
        try:
            if process.environ().get("MARK") == job.mark:
                process.kill()
        except psutil.Error:
            continue


def wait_for(condition: Callable[[], object], seconds: float = 30, pause: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause)


def test_a_search_runs_on_all_nodes_and_nothing_is_left(job: Job) -> None:
    code, said = job.run("mlp", "--task", "two words", RAY_AUTH_TOKEN="another")
    assert (code, said) == (0, "")
    head, *workers = job.read("ray")
    port = head.split("--port=")[1].split()[0]
    host = head.split("--node-ip-address=")[1].split()[0]
    assert job.read("metatune") == [
        f"search mlp --task two words --store {job.store} --shared-store --address {host}:{port}"
    ]
    assert "--head " in head
    assert "--include-dashboard=false" in head
    assert len(workers) == 2
    assert all(f"--address={host}:{port} " in worker for worker in workers)
    for node in job.read("ray"):
        assert "--block " in node
        assert "--num-cpus=1 " in node
        assert "--memory=700000000 --object-store-memory=200000000" in node
    job.check_nothing_left()


def test_only_the_user_can_read_the_token_and_enter_the_folders(job: Job) -> None:
    assert job.run("mlp")[0] == 0
    modes = {line.split()[1]: line.split()[0] for line in job.read("modes")}
    tokens = [path for path in modes if path.endswith("/token")]
    assert len(tokens) == 1  # one, which the nodes share
    assert modes.pop(tokens[0]) == "600"
    assert set(modes.values()) == {"700"}
    assert len(modes) == len(NODES)


def test_before_its_time_is_over_the_search_ends_cleanly_and_is_queued_again(job: Job) -> None:
    process = job.start("mlp", SEARCH_SECONDS="100")
    wait_for(lambda: job.read("metatune"))
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "goes on when the job is next run" in said
    assert job.read("scontrol") == [f"requeue {JOB}"]
    job.check_nothing_left()


def test_a_search_that_just_finishes_is_not_queued_again(job: Job) -> None:
    process = job.start("mlp", SEARCH_SECONDS="1")
    wait_for(lambda: len(job.read("ray")) == len(NODES))
    process.send_signal(signal.SIGUSR1)  # may come before, in or after the search
    process.communicate(timeout=30)
    assert process.returncode in (0, 130)
    assert job.read("scontrol") == ([f"requeue {JOB}"] if process.returncode else [])
    job.check_nothing_left()


def test_a_cancelled_job_is_not_queued_again(job: Job) -> None:
    process = job.start("mlp", SEARCH_SECONDS="100")
    wait_for(lambda: job.read("metatune"))
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert job.read("scontrol") == []
    job.check_nothing_left()


def test_the_exit_code_is_that_of_the_search(job: Job) -> None:
    assert job.run("mlp", SEARCH_CODE="2")[0] == 2
    assert job.read("scontrol") == []
    job.check_nothing_left()


@pytest.mark.parametrize("node", [NODES[0], NODES[2]])
def test_a_node_that_does_not_start_is_named_with_what_it_said(job: Job, node: str) -> None:
    code, said = job.run("mlp", BROKEN=node)
    assert code == 1
    assert said == f"no luck\nmetatune.sbatch: Ray did not start on {node}\n"
    assert job.read("metatune") == []
    job.check_nothing_left()


def test_ports_that_are_taken_are_passed_over(job: Job) -> None:
    first = 20000 + 8 * (JOB % 1500)
    with socket.socket() as other:
        other.bind(("", first + 5))
        assert job.run("mlp")[0] == 0
    assert f"--port={first + 8} --ray-client-server-port={first + 9} " in job.read("ray")[0]


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ([], {}, "what to search? sbatch metatune.sbatch SPACE --task ..."),
        (["mlp"], {"METATUNE_STORE": ""}, "METATUNE_STORE says where the store is, and is not set"),
        (
            ["mlp"],
            {"SLURM_JOB_ID": ""},
            "runs in a SLURM job: sbatch metatune.sbatch SPACE --task ...",
        ),
    ],
)
def test_what_is_missing_is_said(
    job: Job, arguments: list[str], variables: dict[str, str], said: str
) -> None:
    assert job.run(*arguments, **variables) == (1, f"metatune.sbatch: {said}\n")
    assert job.read("ray") == []


def test_slurm_is_told_to_warn_before_the_end_and_to_keep_the_log() -> None:
    asked = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    for line in ("--signal=B:USR1@180", "--requeue", "--open-mode=append", "--ntasks-per-node=1"):
        assert f"#SBATCH {line}" in asked


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_real_search_stopped_by_the_time_limit_goes_on_where_it_was(real_job: Job) -> None:
    """On a Ray of two nodes, and again on another one."""
    store = ExperienceStore(real_job.store)

    def states() -> list[TrialState]:
        return [trial.state for trial in store.trials(study="mlp-iris-0")]

    process = real_job.start(*SEARCH, NODES="node1 node2")
    wait_for(lambda: TrialState.COMPLETE in states() or process.poll() is not None, 200, 1)
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert real_job.read("scontrol") == [f"requeue {JOB}"]
    real_job.check_nothing_left()

    code, said = real_job.run(*SEARCH, NODES="node1 node2")
    assert code == 0, said
    assert len(states()) == 6
    assert set(states()) <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED}
    real_job.check_nothing_left()
