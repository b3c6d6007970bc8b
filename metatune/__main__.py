"""`python -m metatune`: the command line."""

from metatune.cli import main

main()
