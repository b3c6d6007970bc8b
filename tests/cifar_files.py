"""Folders of CIFAR's binary files, with few records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[np.uint8]


def records(rows: int, seed: int, labels: int = 1, classes: int = 10) -> Records:
    """Records whose first color says most of their last label: [rows, labels + 3072]."""
    rng = np.random.default_rng(seed)
    made = rng.integers(0, 256, (rows, labels + 3072)).astype(np.uint8)
    for place in range(labels):
        made[:, place] = rng.permutation(np.arange(rows) % classes)
    made[:, labels : labels + 1024] //= 4
    made[:, labels : labels + 1024] += made[:, labels - 1 : labels] * 19
    return made


def cifar_10(folder: Path, each: int = 40) -> list[Records]:
    """The files of CIFAR-10; the records of each, the test file's last."""
    folder.mkdir(exist_ok=True)
    parts = [records(each, seed) for seed in range(6)]
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    for name, part in zip(names, parts, strict=True):
        part.tofile(folder / name)
    labels = [f"class{number}" for number in range(10)]
    (folder / "batches.meta.txt").write_text("\n".join(labels) + "\n\n")
    return parts


def cifar_100(folder: Path, rows: int = 200) -> list[Records]:
    """The files of CIFAR-100, without the names of the finer labels."""
    folder.mkdir(exist_ok=True)
    parts = [records(rows, 7, 2, 20), records(rows // 2, 8, 2, 20)]
    for name, part in zip(("train.bin", "test.bin"), parts, strict=True):
        part.tofile(folder / name)
    names = [f"coarse{number}" for number in range(20)]
    (folder / "coarse_label_names.txt").write_text("\n".join(names))
    return parts
