"""Tables of real trainings, searched with the experience of their other tasks."""
