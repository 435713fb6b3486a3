"""How long a failing endpoint is waited for, and how long it is left alone afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from random import Random

from agent.errors import LLMUnavailable
from agent.llm.wire import Endpoint


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Own tries in place of the SDKs', which would sleep for as long as a retry-after header says."""

    tries: int = 4
    first_wait_s: float = 2.0
    """Doubles with every further try; each wait is drawn from [0.5, 1] of it, so that array jobs spread out."""
    wait_cap_s: float = 30.0
    """Longest single wait, whatever the endpoint asks for."""
    total_cap_s: float = 90.0
    """No try begins later than this after the call began, waits and time-outs included."""
    rng: Random = field(default_factory=Random, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"tries is {self.tries}: must be at least 1")
        waits = (self.first_wait_s, self.wait_cap_s, self.total_cap_s)
        if not all(math.isfinite(wait) and wait >= 0 for wait in waits):
            raise ValueError(f"waits are {waits} s: must be finite and not negative")

    def wait_s(self, failed: int, *, elapsed_s: float, retry_after_s: float | None = None) -> float | None:
        """Seconds to wait after the `failed`-th failure (1, 2, ...); None when it was the last try."""
        if failed >= self.tries:
            return None
        own = self.first_wait_s * 2.0 ** (failed - 1) * self.rng.uniform(0.5, 1.0)
        wait = min(max(own, retry_after_s or 0.0), self.wait_cap_s)
        return wait if elapsed_s + wait <= self.total_cap_s else None


class CoolDown:
    """Endpoints that failed to the last try, and until when they are not asked.

    A dozen roles at a dead endpoint would otherwise cost a dozen times the policy's whole patience.
    """

    def __init__(
        self, until: MutableMapping[str, float] | None = None, *, now: Callable[[], float], cool_down_s: float = 300.0
    ) -> None:
        """until: endpoint's name -> time on `now`'s clock; kept between processes if that clock is a wall clock."""
        self.until: MutableMapping[str, float] = {} if until is None else until
        self._causes: dict[str, str] = {}
        self._now = now
        self._cool_down_s = cool_down_s

    def check(self, endpoint: Endpoint) -> None:
        """Raises LLMUnavailable while the endpoint is left alone."""
        left = self.until.get(endpoint.name, -math.inf) - self._now()
        # A clock that was set back must not lengthen it.
        if 0 < left <= self._cool_down_s:
            who = f"{endpoint.provider} ({endpoint.model})"
            cause = self._causes.get(endpoint.name, "")
            last = f" (last: {cause})" if cause else ""
            raise LLMUnavailable(f"{who} failed to the last try and is not asked for another {left:.0f} s{last}")

    def begin(self, endpoint: Endpoint, cause: str = "") -> None:
        """Leave the endpoint alone from now on. cause: what the last try ended with."""
        self.until[endpoint.name] = self._now() + self._cool_down_s
        for start in (f"{endpoint.provider} answers ", f"{endpoint.place} ", f"{endpoint.provider}: "):
            cause = cause.removeprefix(start)
        self._causes[endpoint.name] = cause
