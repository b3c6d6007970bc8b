"""Rows that every benchmark prints and writes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One figure beside a peer's from the same run; `ratio` is value / peer_value."""

    case: str
    metric: str
    value: float
    peer: str
    peer_value: float

    @property
    def ratio(self) -> float:
        """value / peer_value, NaN where the peer's is zero."""
        return self.value / self.peer_value if self.peer_value else float("nan")


def arguments(description: str | None) -> argparse.Namespace:
    """--quick and --json, which every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="end within a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    return parser.parse_args()


def finish(rows: Sequence[Row], title: str, file: Path | None) -> None:
    """Print the rows as a table and write them to `file` if there is one."""
    table = Table("case", "metric", "value", "peer", "peer value", "ratio", title=title)
    for row in rows:
        figures = [f"{row.value:.4g}", row.peer, f"{row.peer_value:.4g}", f"{row.ratio:.3f}"]
        table.add_row(row.case, row.metric, *figures)
    Console(soft_wrap=True).print(table)
    if file is not None:
        write(rows, file)


def write(rows: Sequence[Row], file: Path) -> None:
    """Write the rows to `file`."""
    records = [asdict(row) | {"ratio": row.ratio} for row in rows]
    file.write_text(json.dumps({"rows": records}, indent=2) + "\n")
