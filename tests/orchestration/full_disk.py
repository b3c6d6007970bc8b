"""Searches in a store on a file system that becomes full, and again when there is room.

Usage: full_disk.py FOLDER KILOBYTES OPTION...: mounts that much memory on FOLDER, where only this
process and its children see it, and prints what became of the two searches as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

from metatune import ExperienceStore

CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_REMOUNT = 0x20000, 0x4000, 0x40000, 0x20


def mount(folder: str, size: str, flags: int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, f"size={size}".encode()) != 0:
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")


def search(options: list[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "metatune", "search", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def main(folder: str, size: str, options: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    mount(folder, f"{size}k")
    store = ExperienceStore(f"{folder}/store")
    full = search([*options, "--store", store.uri])
    before = [trial.number for trial in store.trials() if trial.state.finished]
    damage = [str(found) for found in store.verify()]
    temporary = [str(path) for path in Path(folder).rglob(".*.tmp")]
    mount(folder, "64m", MS_REMOUNT)
    again = search([*options, "--store", store.uri])
    trials = [(t.number, t.config, str(t.state), t.value) for t in store.trials()]
    shown = {"full": full, "again": again, "before": before, "trials": trials}
    print(json.dumps({**shown, "damage": damage, "temporary": temporary}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
