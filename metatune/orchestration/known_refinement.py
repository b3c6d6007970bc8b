"""Under which names it stands that a proposal was refined before it was trained."""

from __future__ import annotations

# In what is known of the training of a trial: the values that were proposed in place of those that
# it trains with, and the seconds that finding these took.
PROPOSED, REFINING_SECONDS = "proposed", "refining_seconds"
# In the first result of a network alone: its new values, and the seconds.
REFINED = "refined"
