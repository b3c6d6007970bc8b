"""Reading a configuration: every name must fit and be used, and be there if it has no default."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping

from metatune.errors import ConfigurationError
from metatune.parameters import Value


class Settings:
    """A configuration that remembers which of its values have been read.

    What builds a network or a training reads the names it needs; `check_all_read` then raises
    ConfigurationError for a name that nothing has read: a misspelled one, or one that does not
    exist under the other values. `source` names the configuration in errors.
    """

    def __init__(self, config: Mapping[str, Value], source: str = "configuration") -> None:
        self._config = dict(config)
        self._read: set[str] = set()
        self._source = source

    def __getitem__(self, name: str) -> Value:
        if name not in self._config:
            close = difflib.get_close_matches(name, set(self._config) - self._read, 1)
            hint = f" (is {close[0]!r} misspelled?)" if close else ""
            raise ConfigurationError(f"{self._source}: {name} is missing{hint}")
        self._read.add(name)
        return self._config[name]

    def __contains__(self, name: str) -> bool:
        return name in self._config

    @property
    def names_read(self) -> list[str]:
        """What has been read so far, in the order of the configuration."""
        return [name for name in self._config if name in self._read]

    def number(
        self,
        name: str,
        low: float = -math.inf,
        high: float = math.inf,
        default: float | None = None,
    ) -> float:
        """The number `name`, finite and in [low, high]; `default`, if any, where it is absent."""
        if default is not None and name not in self:
            return default
        value = self[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(name, "a number")
        if not (math.isfinite(value) and low <= value <= high):
            raise self.error(name, f"a finite number in [{low:g}, {high:g}]")
        return float(value)

    def whole(self, name: str, low: int = 1, default: int | None = None) -> int:
        """The whole number `name`, at least `low`; `default`, if any, where it is absent."""
        if default is not None and name not in self:
            return default
        value = self[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise self.error(name, f"a whole number of at least {low}")
        return value

    def flag(self, name: str, default: bool | None = None) -> bool:
        """The truth value `name`; `default`, if any, where it is absent."""
        if default is not None and name not in self:
            return default
        value = self[name]
        if not isinstance(value, bool):
            raise self.error(name, "true or false")
        return value

    def choice(self, name: str, choices: Collection[str], default: str | None = None) -> str:
        """The word `name`, one of `choices`; `default`, if any, where it is absent."""
        if default is not None and name not in self:
            return default
        value = self[name]
        if not isinstance(value, str) or value not in choices:
            raise self.error(name, f"one of {list(choices)}")
        return value

    def error(self, name: str, right: str) -> ConfigurationError:
        """The error that says what would be right for `name`."""
        return ConfigurationError(
            f"{self._source}: {name} = {self._config[name]!r} must be {right}"
        )

    def check_all_read(self) -> None:
        """Raise ConfigurationError for the first name that nothing has read."""
        for name, value in self._config.items():
            if name not in self._read:
                raise ConfigurationError(
                    f"{self._source}: {name} = {value!r} is misspelled or has no meaning here; "
                    f"what is read is {sorted(self._read)}"
                )
