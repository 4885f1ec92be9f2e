"""Who ``driver.lock`` says holds a run. Anyone may have written it: what cannot be a holder names nobody."""

from __future__ import annotations

import json
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_Text = Annotated[str, Field(max_length=1000)]


class Holder(BaseModel):
    """A driver."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    host: _Text
    pid: Annotated[int, Field(ge=1, lt=2**31)]
    started_at: _Text

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """None for what is not a lock, which counts as a holder that nobody knows."""
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            return None

    def encode(self) -> bytes:
        """The content of its lock."""
        return (json.dumps(self.model_dump(), sort_keys=True, indent=1) + "\n").encode()
