"""Every error metatune raises on purpose.

MetatuneError
├── InputError               what was given is wrong; the command line exits with 2
│   ├── SpaceError           a search space that cannot be
│   ├── ConfigurationError   a configuration that does not fit its space
│   ├── TaskError            an unknown or contradictory task
│   ├── DataError            a data set that cannot be learned from
│   ├── TrainableError       a trainable that cannot be imported or run
│   ├── StudyError           an unknown study, or one opened with other settings
│   └── StoreAddressError    a store that cannot be opened or written
├── StoreError               the store failed while in use
│   ├── DamagedFileError     a file that is not what was written
│   └── SchemaVersionError   a file written by a newer metatune
├── JobError                 a cluster that cannot be reached, or fails at a job
└── StudyLockedError         another process is running the study

A message names the offending value, where it came from and what would be right, in one line.
"""


class MetatuneError(Exception):
    """Root of the tree; `exit_code` is what the command line ends with."""

    exit_code = 1


class InputError(MetatuneError):
    """What was given is wrong."""

    exit_code = 2


class SpaceError(InputError):
    """A search space that cannot be."""


class ConfigurationError(InputError):
    """A configuration that does not fit its space."""


class TaskError(InputError):
    """An unknown or contradictory task."""


class DataError(InputError):
    """A data set that cannot be learned from."""


class TrainableError(InputError):
    """A trainable that cannot be imported or run."""


class StudyError(InputError):
    """An unknown study, or one opened with other settings than it was started with."""


class StoreAddressError(InputError):
    """A store that cannot be opened or written."""


class StoreError(MetatuneError):
    """The store failed while in use."""


class DamagedFileError(StoreError):
    """A file that is not what was written."""


class SchemaVersionError(StoreError):
    """A file written by a newer metatune."""


class JobError(MetatuneError):
    """A cluster that cannot be reached, or fails at a job."""


class StudyLockedError(MetatuneError):
    """Another process is running the study."""


class ExperienceWarning(UserWarning):
    """Part of what is known could not be read; the rest is used."""
