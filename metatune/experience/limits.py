"""How much of a store's files is taken into memory: what is more was not made by metatune.

Whoever made a file decides what it says of itself and what it unpacks to, and a store may hold the
files of others. So everything that is read has a limit, which is checked before memory is taken:
a file beyond one is damaged. What metatune writes stays far below, or is refused when written.
"""

# A sealed JSON record: of a study, a lease, a model, or the index. Parsed, JSON takes up to some 30
# times its bytes.
MOST_RECORD_BYTES = 8 << 20
# `aliases.toml`.
MOST_ALIAS_BYTES = 1 << 20
# The arrays of a model, and the header that names them.
MOST_ARRAYS_BYTES = 256 << 20
MOST_ARRAYS_HEADER_BYTES = 1 << 20
# What tells where in a file of trials its row groups are, about 3 kB each. Parsed, it takes up to
# some 100 times its bytes.
MOST_FOOTER_BYTES = 4 << 20
# A row group of a file of trials, decoded, all columns; a page of it is no larger.
MOST_GROUP_ROWS = 100_000
MOST_GROUP_BYTES = 256 << 20
# All row groups of a file together: so much, and so many times the bytes of the file.
MOST_UNPACKED_BYTES = 256 << 20
MOST_UNPACKED_TIMES = 1024
# Everything that one read takes from all files, before it becomes objects of Python.
MOST_READ_BYTES = 2 << 30
# What compaction makes one file of.
MOST_MERGED_FILES = 10_000
MOST_MERGED_ROWS = 5_000_000
MOST_MERGED_BYTES = 4 << 30
# One trial, and a field of it that is JSON.
MOST_TRIAL_BYTES = 16 << 20
MOST_JSON_BYTES = 1 << 20
# How deep folders of a store lie in each other.
MOST_DEPTH = 8
