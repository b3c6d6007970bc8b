"""An exported configuration as one Python file that trains it without metatune."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

from metatune.errors import ConfigurationError
from metatune.export.documents import said_of_seeds
from metatune.export.program import Program
from metatune.export.retraining import check_built_in
from metatune.networks.data.reading import BUILT_IN
from metatune.networks.data.task_metric import CLASSIFICATION
from metatune.networks.own_code import own_names
from metatune.parameters import Categorical
from metatune.space import SearchSpace, shipped_spaces

_NETWORKS = "metatune.networks"
_READERS = {
    ".csv": ("data.reading", "_csv"),
    ".parquet": ("data.reading", "_parquet"),
    ".npz": ("data.arrays", "read_npz"),
}
_ERRORS = ("ConfigurationError", "DataError")
# What options of no shipped space ask for, and whether a function of the user's is meant.
_ELSEWHERE = (
    *("learned", "focal", "parametric", "one_cycle", "piecewise", "hypergradient", "truncation"),
    *("predict", "is_own"),
)
_CALLS = ("step", "test_scores")  # the methods that `main` calls

_FROM_FILE = """path = Path(sys.argv[1] if len(sys.argv) > 1 else DATA).expanduser()
    if not path.is_file():
        sys.exit(f"{path}: no such file; give the data as the one argument")
    table = %s(path, TARGET or "target")"""

_FROM_FOLDER = """path = Path(sys.argv[1] if len(sys.argv) > 1 else DATA).expanduser()
    if not path.is_dir():
        sys.exit(f"{path}: no such folder; give the data as the one argument")
    table = read_folder(path, TARGET)"""

_SCRIPT = Template('''\
"""Train a network by itself: trial $trial of the study $study.

It has $metric = $value on the data $data.$seeds
The same machine and version of torch give the same digits again.

Needs $needs. Written by metatune$version, from whose source the
definitions are, and which it does not need. What begins below with CONFIGURATION and ends with
`main` is all there is to it; `Training.best_weights` holds the weights of the best epoch.

Usage: python THIS_FILE$arguments
"""

from __future__ import annotations

$imports

DATA = $data_value
TARGET = $target  # the column to predict, if it has another name than "target"
DATA_HASH = "$data_hash"
METRIC = $metric_value
SPLIT_SEED, SEED, THREADS = $split_seed, $seed, $threads
EPOCHS, SCORED_EPOCHS = $epochs, $steps  # of the schedule, and of the score
RECORDED = $value
CONFIGURATION = {$configuration
}


$definitions


# The program.


def main() -> None:
    """Train, and print the score, the recorded one, and the scores on the test rows."""
    $table
    dataset = prepare(table, DATA, split_seed=SPLIT_SEED, metric=METRIC)
    if dataset.data_hash != DATA_HASH:
        sys.exit(f"{DATA}: no longer the data that the score was recorded on")
    training = Training(CONFIGURATION, dataset, SEED, EPOCHS, THREADS)
    values = [training.step()[METRIC] for _ in range(EPOCHS)]
    finite = [value for value in values[:SCORED_EPOCHS] if math.isfinite(value)]
    best = $best(finite, default=math.nan)
    print(f"{METRIC} = {best!r} (recorded {RECORDED!r})")
    for name, value in training.test_scores().items():
        print(f"{name} = {value!r}")


if __name__ == "__main__":
    main()
''')


def to_script(exported: dict[str, Any], space: SearchSpace) -> str:
    """The script for an exported document of a study of `space`.

    Raises ConfigurationError for a trial that no built-in network was trained in, or whose data
    only metatune can read.
    """
    check_built_in(exported["training"], "format 'python'")
    training, configuration = exported["training"], _spelled_out(exported)
    if "lineage" in training:
        raise ConfigurationError(
            "format 'python': this network went on from where others were, with several "
            "configurations; use toml, json or yaml"
        )
    if own := own_names(configuration):
        raise ConfigurationError(f"format 'python': {own} are functions of yours; use toml")
    reader, table = _reading(training["data"])
    if "store" in training:
        raise ConfigurationError(
            "format 'python': training began from weights that are kept in a store, which a script "
            "cannot hold; use toml, json or yaml"
        )
    metric = exported["task"]["metric"]
    words = {value for value in configuration.values() if isinstance(value, str)}
    words.add(metric.removeprefix("validation_").partition(":")[0])
    program = Program(
        roots=[
            reader,
            (f"{_NETWORKS}.data.loading", "prepare"),
            (f"{_NETWORKS}.training", "Training"),
        ],
        calls=_CALLS,
        words={*words, training["data"]},
        never={*_choices(space), *CLASSIFICATION, *BUILT_IN, *_ELSEWHERE}
        - {*words, *configuration, training["data"]},
        instead=dict.fromkeys(_ERRORS, "ValueError"),
    )
    imports = {*program.imports(), "import math", "import sys"}
    if "Path(" in table:
        imports.add("from pathlib import Path")
    by_pyarrow = any("pyarrow" in line for line in imports)
    version = exported["study"]["metatune"]
    return _SCRIPT.substitute(
        trial=exported["study"]["trial"],
        study=json.dumps(exported["study"]["name"]),
        metric=metric,
        metric_value=repr(metric),
        best="max" if exported["task"]["direction"] == "maximize" else "min",
        value=repr(exported["result"]["value"]),
        data=json.dumps(training["data"]),
        seeds=f"\n{said}." if (said := said_of_seeds(exported["result"])) else "",
        needs=f"torch, numpy, scikit-learn{', pyarrow' if by_pyarrow else ''}",
        version=f" {version}" if version else "",
        arguments=" [DATA]" if "Path(" in table else "",
        imports="\n".join(sorted(imports, key=lambda line: (line.startswith("from"), line))),
        data_value=repr(training["data"]),
        target=repr(training.get("target")),
        data_hash=exported["task"]["data_hash"],
        split_seed=training["split_seed"],
        seed=training["seed"],
        threads=training["threads"],
        epochs=training["epochs"],
        steps=exported["result"]["steps"],
        configuration="".join(f"\n    {k!r}: {v!r}," for k, v in configuration.items()),
        definitions=program.text(),
        table=table,
    )


def _spelled_out(exported: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the numbers of what was learned in place of its name."""
    configuration, training = dict(exported["configuration"]), exported["training"]
    for setting, kind, general in (
        ("loss", "losses", "parametric"),
        ("schedule", "schedules", "piecewise"),
    ):
        table = training.get(kind, {}).get(configuration.get(setting))
        if table is not None:
            configuration |= {setting: general, **table}
    return configuration


def _reading(data: str) -> tuple[tuple[str, str], str]:
    """The function that reads the data, its module first, and the statements that call it."""
    if data in BUILT_IN:
        return (f"{_NETWORKS}.data.reading", "_built_in"), "table = _built_in(DATA, TARGET)"
    if Path(data).is_dir():
        return (f"{_NETWORKS}.data.cifar", "read_folder"), _FROM_FOLDER
    reader = _READERS.get(Path(data).suffix.lower())
    if reader is None:
        raise ConfigurationError(
            f"format 'python': data {data!r} is neither one of {list(BUILT_IN)} nor a file that "
            f"ends in {', '.join(_READERS)}; use toml, json or yaml"
        )
    module, function = reader
    return (f"{_NETWORKS}.{module}", function), _FROM_FILE % function


def _choices(space: SearchSpace) -> set[str]:
    """Every word that a parameter of the space, or of one that is shipped, may be."""
    spaces = [space, *(SearchSpace.load(path) for path in shipped_spaces().values())]
    parameters = [p for one in spaces for p in one.parameters.values()]
    found = [p.choices for p in parameters if isinstance(p, Categorical)]
    return {choice for choices in found for choice in choices if isinstance(choice, str)}
