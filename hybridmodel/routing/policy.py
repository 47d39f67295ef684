"""The base of all routing policies."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class Policy:
    """Base of all policies."""

    mode: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Return what `policy_from_dict` takes, in JSON's types.

        Raises
        ------
        ConfigurationError
            If it holds a function, which cannot be stored.
        """
        return {"mode": self.mode, **{item.name: getattr(self, item.name) for item in fields(self)}}

    def _set(self, **checked: Any) -> None:
        for name, value in checked.items():
            object.__setattr__(self, name, value)
