"""Under which names weights stand in what is known of the training of a trial."""

from __future__ import annotations

# By network the ids of initializations that were learned on other tasks; the store keeps them under
# this name too.
INITIALIZATIONS = "initializations"
# The trial whose weights it began from, and their id.
PARENT = "parent"
# The snapshot of its own weights at its end, which later trials may begin from.
KEPT = "kept"
