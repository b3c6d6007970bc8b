"""Reads a store in a process of its own, again and again: what it reads may end that process.

A line of its standard input is a folder. For each it answers with a line of JSON: the numbers of
the trials it could read, the error if there was one, what was damaged, and the most memory it ever
had, in MiB; or with what was raised that is no error of metatune's.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from pathlib import Path

from metatune.errors import ExperienceWarning, MetatuneError
from metatune.experience.store import ExperienceStore


def look(folder: str) -> dict[str, object]:
    """What reading a store in every way comes to."""
    answer: dict[str, object] = {"error": None, "numbers": []}
    store = ExperienceStore(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ExperienceWarning)
            answer["numbers"] = [trial.number for trial in store.trials()]
            store.cutoff()
            store.past_tasks()
            store.past_tasks(most=2, most_tasks=1)
            for study in store.studies():
                for model, _ in store.models(study.space.id):
                    store.model(study.space.id, model)
        answer["damaged"] = [damage.path for damage in store.verify()]
    except MetatuneError as error:
        answer["error"] = str(error)
        answer["damaged"] = [damage.path for damage in store.verify()]
    # Not `getrusage`, in which a process begins with the peak of the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    answer["peak"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return answer


if __name__ == "__main__":
    for line in sys.stdin:
        try:
            told = look(line.rstrip("\n"))
        except BaseException:
            told = {"crash": traceback.format_exc()}
        print(json.dumps(told), flush=True)
