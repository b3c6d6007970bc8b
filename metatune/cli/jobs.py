"""`metatune submit`, `status`, `logs`, `stop` and `results`: searches on a cluster."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from metatune.cli import printing
from metatune.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from metatune.cli.resourcing import resources_of
from metatune.errors import InputError, JobError
from metatune.experience.store import ExperienceStore

_RESULTS_SECONDS = 120.0

AddressOption = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS",
        help="Jobs API of the cluster: https://host:port, or http on this machine.",
    ),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Allow http to other machines, and no token.")
]
JobArgument = Annotated[str, typer.Argument(help="Id that `metatune submit` printed.")]
DEFAULT_ADDRESS = "http://127.0.0.1:8265"


def submit(
    context: typer.Context,
    address: AddressOption = DEFAULT_ADDRESS,
    folder: Annotated[
        Path, typer.Option(help="Sent along as the working directory: your code and data files.")
    ] = Path(),
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start a search on a cluster; it goes on when this machine is switched off.

    Takes everything that `metatune search` takes. The store must be one that the cluster reaches:
    s3://..., or a folder that all its nodes share, with --shared-store. Who may submit says a
    token, in RAY_AUTH_TOKEN, in the file named by RAY_AUTH_TOKEN_PATH, or in ~/.ray/auth_token.

      metatune submit mlp --task digits --trials 200 --store s3://team/experience

      metatune submit space.toml --task shop --trainable my_code:fit --store s3://team/experience
      --concurrency 32 --gpus 0.5 --label ray.io/market-type=spot --cost-budget 40h
    """
    from metatune.orchestration.jobs import Jobs

    arguments = _checked(context.args)
    if not folder.is_dir():
        raise InputError(f"--folder {folder}: is no folder")
    study = _parsed(arguments)["study"]
    job = Jobs(address, insecure).submit(arguments, folder)
    if as_json:
        printing.print_json({"job": job, "study": study})
        return
    printing.OUT.print(f"submitted {job}; the study is {study}", highlight=False)
    for command in ("logs --follow", "status", "results", "stop"):
        printing.OUT.print(f"  metatune {command} {job} --address {address}", highlight=False)


def _checked(arguments: Sequence[str]) -> list[str]:
    """Arguments of `metatune search`, known to be some, with the names of study and store."""
    params = _parsed(arguments)
    resources_of(params)
    if params["address"] is not None:
        raise InputError(f"--address {params['address']}: stands among the options of the search")
    if params["store"] == DEFAULT_STORE:
        raise InputError(
            "--store: say one that the cluster reaches: s3://..., or a folder that all its nodes "
            "share, with --shared-store"
        )
    if params["study"] is not None:
        return [*arguments, "--address", "auto"]
    name = f"{Path(params['space']).stem}-{_task_name(params)}-{params['seed']}"
    return [*arguments, "--study", name, "--address", "auto"]


def _parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """What arguments of `metatune search` say; click prints what is wrong with them."""
    from metatune.cli.searching import search

    app = typer.Typer(add_completion=False)
    app.command()(search)
    with typer.main.get_command(app).make_context("metatune submit", list(arguments)) as given:
        return dict(given.params)


def _task_name(params: dict[str, Any]) -> str:
    """The task as a search names it by default."""
    task, target = str(params["task"]), params["target"]
    if params["trainable"] is not None:
        return task
    stem = Path(task).stem
    return stem if target in (None, "target") else f"{stem}-{target}"


def status(
    job: Annotated[str | None, typer.Argument(help="One job; by default all.")] = None,
    address: AddressOption = DEFAULT_ADDRESS,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """How the searches on a cluster stand, the latest first."""
    from metatune.orchestration.jobs import Jobs

    client = Jobs(address, insecure)
    jobs = client.all() if job is None else [client.job(job)]
    if as_json:
        printing.print_json({"jobs": [asdict(one) for one in jobs]})
        return
    heads = ["job", "status", "started", "took", "search", "message"]
    table = Table(*(Column(head, overflow="fold") for head in heads))
    for one in jobs:
        began = one.started and f"{datetime.fromtimestamp(one.started, UTC):%Y-%m-%d %H:%M} UTC"
        took = one.started and f"{(one.ended or time.time()) - one.started:.0f} s"
        search = " ".join(one.arguments).removesuffix(" --address auto")
        table.add_row(one.id, one.status, began or "", took or "", search, one.message)
    printing.OUT.print(table)


def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the search ends.")] = False,
    address: AddressOption = DEFAULT_ADDRESS,
    insecure: InsecureOption = False,
) -> None:
    """What a search on a cluster prints."""
    from metatune.orchestration.jobs import Jobs

    client = Jobs(address, insecure)
    known = client.job(job)
    if follow and not known.is_over:
        client.follow(job, _show)
    else:
        _show(client.logs(job))


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def stop(
    job: JobArgument,
    address: AddressOption = DEFAULT_ADDRESS,
    insecure: InsecureOption = False,
) -> None:
    """End a search on a cluster; submitted again, it goes on where it was."""
    from metatune.orchestration.jobs import Jobs

    client = Jobs(address, insecure)
    client.job(job)
    printing.OUT.print(f"{job} {'is told to stop' if client.stop(job) else 'had ended before'}")


def results(
    study: Annotated[str, typer.Argument(help="Study, or with --address the id of a job.")],
    address: Annotated[
        str | None,
        typer.Option(help="Read on this cluster, as for a store that only the cluster reaches."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """How the trials of a study ended, why any failed, how long they trained, and its best."""
    if address is None:
        kept = ExperienceStore(store)
        found = printing.results(*kept.whole(study))
    else:
        found = _results_there(study, address, store, insecure)
    if as_json:
        printing.print_json(found)
    else:
        printing.print_results(found)


def _results_there(study: str, address: str, store: str, insecure: bool) -> dict[str, Any]:
    """The results of a study, or of that of a job, as the cluster reads them from the store."""
    from metatune.orchestration.jobs import Jobs

    client = Jobs(address, insecure)
    for job in client.all():
        if job.id == study:
            params = _parsed(job.arguments)
            study, store = params["study"], params["store"]
    text = client.run(["results", study, "--store", store, "--json"], _RESULTS_SECONDS)
    try:
        found: dict[str, Any] = json.loads(text[text.index("{") :])
    except ValueError:
        lines = text.strip().splitlines()
        raise JobError(f"{address}: {lines[-1] if lines else 'printed nothing'}") from None
    return found
