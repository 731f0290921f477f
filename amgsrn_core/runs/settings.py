"""Everything that may be chosen about a training, as one object, and what identifies a run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from amgsrn_core.config import (
    BrickConfig,
    DispatchConfig,
    GoalConfig,
    NetworkConfig,
    SeriesConfig,
    StorageConfig,
    TrainingConfig,
    from_json,
    to_json,
)


@dataclass(frozen=True)
class Settings:
    """The options of a training."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    bricks: BrickConfig = field(default_factory=BrickConfig)
    dispatch: DispatchConfig = field(default_factory=DispatchConfig)
    series: SeriesConfig = field(default_factory=SeriesConfig)
    goal: GoalConfig = field(default_factory=GoalConfig)

    @classmethod
    def of(cls, *configurations: Any) -> Settings:
        """Make an instance from configurations in the order of the fields; None is the default.

        A network that is None has a size that nobody chose, so that the goal may.
        """
        named = zip((each.name for each in fields(cls)), configurations)
        settings = cls(**{name: config for name, config in named if config is not None})
        goal = settings.goal.for_network(settings.network, configurations[0] is not None)
        return dataclasses.replace(settings, goal=goal)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {each.name: to_json(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Settings:
        """Make an instance from :meth:`to_json`'s result; other keys are not looked at."""
        kinds = get_type_hints(cls)
        return cls(
            **{
                each.name: from_json(kinds[each.name], values[each.name])
                for each in fields(cls)
                if each.name != "goal" or "goal" in values  # which earlier versions have not
            }
        )

    def differences(self, before: Settings) -> list[str]:
        """Name the options that change the result and were others before: what they were and are.

        Written as "grids 8, now 16", with the options' names of the command line.
        """
        old, new = before._results(), self._results()
        then, now = _values(before), _values(self)
        return [
            f"{name.replace('_', '-')} {_shown(then[name])}, now {_shown(now[name])}"
            for name in {**old, **new}
            if old.get(name) != new.get(name)
        ]

    def _results(self) -> dict[str, Any]:
        cut = {**to_json(self.bricks), **to_json(self.series)}
        parts = [to_json(self.network), *self._substance(), cut]
        return {name: value for part in parts for name, value in part.items()}

    def fingerprint(self, data: Sequence[Any], start: Sequence[Any] = ()) -> str:
        """Identify what a run computes: same data, same configuration, same result.

        Parameters
        ----------
        data : sequence
            JSON types that change with the values and with how they are cut.
        start : sequence, optional
            The same of the model that the training starts from.
        """
        return _digest([*data, to_json(self.network), *self._substance(), *start])

    def series_fingerprint(
        self,
        data: Sequence[Any],
        networks: Sequence[NetworkConfig],
        start: Sequence[Any] | None,
    ) -> str:
        """Identify what a run over several time steps computes, with the bricks' own `networks`."""
        sizes = [to_json(network) for network in (self.network, *networks)]
        return _digest([*data, sizes, *self._substance(), to_json(self.series), start])

    def _substance(self) -> list[Any]:
        goal = self.goal.substance()
        return [self.training.substance(), self.storage.to_json(), *([goal] if goal else [])]


def _values(settings: Settings) -> dict[str, Any]:
    values = settings.to_json()
    return {name: value for part in reversed(values.values()) for name, value in part.items()}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _digest(what: list[Any]) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
