"""A launcher that an installed distribution brings: whatever it raises beside the contract names it.

What it cannot answer counts as unknown, never as "nothing runs": a submission that failed may have been made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from agent.errors import AmbiguousSubmission, LaunchError, RoundtableError, SchedulerUnavailable
from agent.launch.base import Batch, Launcher, Submission, TaskStatus
from agent.launch.catalogue import Capabilities, LauncherEntry

T = TypeVar("T")


class ForeignLauncher:
    """The Launcher protocol around somebody else's."""

    def __init__(self, entry: LauncherEntry, made: Launcher) -> None:
        self._entry = entry
        self._made = made

    @property
    def name(self) -> str:
        return self._entry.name

    @property
    def capabilities(self) -> Capabilities:
        return self._entry.capabilities

    def submit(self, batch: Batch) -> Submission:
        return self._ask(
            lambda: self._made.submit(batch), lambda message: AmbiguousSubmission(message, name=batch.name)
        )

    def find(self, batch: Batch) -> Submission | None:
        return self._ask(lambda: self._made.find(batch))

    def poll(self, submissions: Sequence[Submission]) -> Mapping[tuple[str, int], TaskStatus]:
        found = self._ask(lambda: self._made.poll(submissions))
        missing = [(each.name, item) for each in submissions for item in each.items if (each.name, item) not in found]
        if missing:
            raise SchedulerUnavailable(f"{self._who}: poll said nothing of {missing[0][0]}, task {missing[0][1]}")
        return found

    def cancel(self, submissions: Sequence[Submission], *, items: Collection[int] | None = None) -> None:
        self._ask(lambda: self._made.cancel(submissions, items=items))

    def largest_index(self) -> int | None:
        return self._ask(self._made.largest_index)

    def elapsed(self, submissions: Sequence[Submission], *, ask: bool = True) -> Mapping[tuple[str, int], float]:
        return self._ask(lambda: self._made.elapsed(submissions, ask=ask))

    def held(self, submissions: Sequence[Submission]) -> Mapping[tuple[str, int], Mapping[str, float]]:
        return self._ask(lambda: self._made.held(submissions))

    def test_only(self, batch: Batch) -> str | None:
        return self._ask(lambda: self._made.test_only(batch))

    @property
    def _who(self) -> str:
        return f"the launcher {self.name} ({self._entry.factory})"

    def _ask(self, call: Callable[[], T], error_of: Callable[[str], LaunchError] = SchedulerUnavailable) -> T:
        try:
            return call()
        except RoundtableError:
            raise
        except Exception as error:
            raise error_of(f"{self._who} failed: {type(error).__name__}: {error}") from error
