"""`metatune cluster`: a cluster to try out."""

from __future__ import annotations

import shlex
import signal
from typing import Annotated

import typer

from metatune.cli import printing
from metatune.cli.options import JsonOption

app = typer.Typer(no_args_is_help=True)


@app.callback()
def cluster() -> None:
    """A Ray cluster to try things out on; for real ones see the folder `cluster/`."""


@app.command()
def up(
    local: Annotated[int, typer.Option(min=1, max=16, help="Nodes, all on this machine.")] = 3,
    cpus: Annotated[int, typer.Option(min=1, help="Processors that each node says it has.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Start a cluster of several nodes on this machine; it ends with this command.

    Nobody gets in without the token in ~/.ray/auth_token, which is made if there is none and which
    only you can read.
    """
    from metatune.orchestration.local_cluster import local_cluster

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not as_json:
        printing.ERR.print(f"starting {local} nodes, some seconds each", highlight=False)
    try:
        with local_cluster(local, cpus) as running:
            if as_json:
                printing.print_json({"jobs": running.jobs, "address": running.address})
            else:
                _explain(running.jobs, running.address)
            signal.pause()
    except KeyboardInterrupt:
        printing.ERR.print("the cluster has ended")


def _explain(jobs: str, address: str) -> None:
    search = ["mlp", "--task", "digits", "--store", "~/experience", "--shared-store"]
    shown = shlex.join(search).replace("'", "")
    printing.OUT.print(f"{address} runs until Ctrl-C; in another terminal:", highlight=False)
    printing.OUT.print(f"  metatune submit --address {jobs} {shown}", highlight=False)
    printing.OUT.print(f"  metatune search {shown} --address {address}", highlight=False)
