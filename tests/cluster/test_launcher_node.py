"""The script that starts and ends one Ray node, first with a Ray that only says what it was given,
then (slow) with the real one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "launcher" / "node.sh"
RAY = f"""#!{sys.executable}
import os, pathlib, stat, sys, time
options = dict(word.split("=", 1) for word in sys.argv if "=" in word)
folder = pathlib.Path(options["--temp-dir"])
folder.mkdir()
if "--broken" in sys.argv:
    sys.exit("no luck")
mode = stat.S_IMODE(folder.parent.stat().st_mode)
asks = [os.environ.get(f"RAY_AUTH_{{name}}") for name in ("MODE", "TOKEN_PATH", "TOKEN")]
print(f"{{mode:o}}", *asks, *sys.argv[1:])
print("Ray runtime started.", flush=True)
time.sleep(1000)
"""


class Node:
    """A copy of the script in a folder of its own, as on a host of its own."""

    def __init__(self, folder: Path, programs: Path | None) -> None:
        folder.mkdir()
        shutil.copy(SCRIPT, folder)
        self.folder = folder
        self.environment = dict(os.environ)
        if programs is not None:
            path = os.pathsep.join([str(programs), self.environment["PATH"]])
        else:
            path = os.pathsep.join([str(Path(sys.executable).parent), self.environment["PATH"]])
        self.environment["PATH"] = path
        (folder / "token").write_text("secret")
        (folder / "token").chmod(0o600)

    def __call__(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.folder / "node.sh"), *arguments],
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    def process(self) -> psutil.Process:
        return psutil.Process(int((self.folder / "pid").read_text()))

    def ray_folder(self) -> Path:
        return Path((self.folder / "folder").read_text().strip())


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Node]]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ray").write_text(RAY)
    (tmp_path / "bin" / "ray").chmod(0o755)
    nodes = []

    def made(name: str) -> Node:
        nodes.append(Node(tmp_path / name, tmp_path / "bin"))
        return nodes[-1]

    yield made
    for node in nodes:
        node("stop")


@pytest.fixture
def node(make: Callable[[str], Node]) -> Node:
    return make("node")


def test_a_node_starts_with_a_token_and_a_folder_for_nobody_else(node: Node) -> None:
    done = node("start", "ray", "start", "--head", "--port=6380", RAY_AUTH_TOKEN="another")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    mode, *said = (node.folder / "log").read_text().splitlines()[0].split()
    token = str(node.folder / "token")
    folder = node.ray_folder()
    assert mode == "700"
    assert said[:3] == ["token", token, "None"]
    assert said[3:] == ["start", "--head", "--port=6380", "--block", f"--temp-dir={folder}/ray"]
    for name in ("log", "pid", "folder"):
        assert (node.folder / name).stat().st_mode & 0o777 == 0o600


def test_stop_ends_it_and_leaves_nothing(node: Node) -> None:
    assert node("start", "ray", "start").returncode == 0
    process, folder = node.process(), node.ray_folder()
    done = node("stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not is_alive(process)
    assert not folder.exists()
    assert node("stop").returncode == 0  # nothing to do


def test_others_on_the_host_go_on(make: Callable[[str], Node]) -> None:
    mine, other = make("mine"), make("other")
    assert mine("start", "ray", "start").returncode == 0
    assert other("start", "ray", "start").returncode == 0
    assert mine("stop").returncode == 0
    assert is_alive(other.process())
    assert other.ray_folder().exists()


def test_a_number_that_belongs_to_another_process_by_now_is_left_alone(node: Node) -> None:
    assert node("start", "ray", "start").returncode == 0
    own = node.process()
    own.kill()
    own.wait(10)
    (node.folder / "pid").write_text(str(os.getpid()))
    assert node("stop").returncode == 0  # and this test goes on


def test_started_again_it_takes_the_place_of_the_first(node: Node) -> None:
    assert node("start", "ray", "start").returncode == 0
    first, folder = node.process(), node.ray_folder()
    assert node("start", "ray", "start").returncode == 0
    assert not is_alive(first)
    assert not folder.exists()
    assert is_alive(node.process())


def test_a_token_that_others_can_read_is_refused(node: Node) -> None:
    token = node.folder / "token"
    token.chmod(0o644)
    done = node("start", "ray", "start")
    assert done.returncode == 1
    assert done.stderr == f"node.sh: {token}: others can read it; chmod 600 it\n"
    assert not (node.folder / "pid").exists()


def test_without_a_token_it_says_how_to_make_one(node: Node) -> None:
    token = node.folder / "token"
    token.unlink()
    done = node("start", "ray", "start")
    assert done.returncode == 1
    assert done.stderr.startswith(f"node.sh: {token}: no token; make one with: ")
    command = done.stderr.split("with: ")[1]
    subprocess.run(["bash", "-c", command], check=True)
    assert len(token.read_text().strip()) == 64
    assert node("start", "ray", "start").returncode == 0


def test_what_ray_said_is_shown_where_it_does_not_start(node: Node) -> None:
    done = node("start", "ray", "start", "--broken")
    assert done.returncode == 1
    log = node.folder / "log"
    assert done.stderr == f"no luck\nnode.sh: Ray did not start; all it said is in {log}\n"
    assert not (node.folder / "pid").exists()
    assert not (node.folder / "folder").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "'' is neither start nor stop"),
        (["down"], "'down' is neither start nor stop"),
        (["start"], "start what? node.sh start ray start --head ..."),
    ],
)
def test_wrong_words_are_refused(node: Node, arguments: list[str], said: str) -> None:
    done = node(*arguments)
    assert (done.returncode, done.stderr) == (1, f"node.sh: {said}\n")


def status(port: int, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/jobs/", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_node_lets_in_who_has_the_token_and_leaves_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", None)
    gcs, client, dashboard = free_ports(3)
    done = node(
        *["start", "ray", "start", "--head", "--num-cpus=1", f"--port={gcs}"],
        *[f"--ray-client-server-port={client}", f"--dashboard-port={dashboard}"],
        *["--dashboard-host=127.0.0.1", "--dashboard-agent-listen-port=0"],
        *["--min-worker-port=0", "--max-worker-port=0"],
    )
    try:
        assert done.returncode == 0, done.stderr
        folder = node.ray_folder()
        processes = [node.process(), *node.process().children(recursive=True)]
        assert len(processes) > 4
        assert (status(dashboard, None), status(dashboard, "wrong")) == (401, 403)
        assert status(dashboard, "secret") == 200
    finally:
        assert node("stop").returncode == 0
    deadline = time.monotonic() + 10
    while any(map(is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_alive, processes))
    assert not folder.exists()
