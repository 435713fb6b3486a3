"""The options of one call of tune, as the public record that Python callers make."""

from __future__ import annotations

from agent.errors import UsageError
from agent.options.option import call_record, settle
from agent.options.study import Call


@call_record
class TuneOptions(Call):
    """One call of tune. Fields set to None keep what the study has, or take the default when it is new.

    The fields are the options of `roundtable tune` (doc/options.md). Paths may be given as text, and tuples as lists.
    Raises UsageError with everything that is wrong.
    """

    def __post_init__(self) -> None:
        problems = list(settle(self))
        if self.max_rounds is not None and self.max_iterations is not None:
            problems.append(
                f"max_rounds = {self.max_rounds!r} and max_iterations = {self.max_iterations!r}: give one of them; "
                "max_rounds counts this call's rounds, max_iterations the study's"
            )
        if (self.provider == "scripted") != (self.script is not None):
            problems.append("provider scripted and script belong together: --provider scripted FILE")
        if problems:
            raise UsageError("\n".join(problems))
