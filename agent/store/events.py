"""Every event of a study's journal as a class: what is on its line, and what it says.

`class X(Event, name="x")` is the line `{"seq": 1, "at": "2026-...", "event": "x", ...}` with the class's fields in
their order. A field with a default was added by a later version, or is left out where there is nothing to say
(`omitted`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from agent.records import Outcome
from agent.store.codec import HEAD, UNSAID, Json, Record, Unsaid, decode, encode, omitted, others

#: When an event that was not appended yet happened.
NOT_YET = datetime.min.replace(tzinfo=UTC)

#: Every event that this version knows, by its name on disk.
CLASSES: dict[str, type[Event]] = {}


class Event(Record):
    """One entry of the journal."""

    NAME: ClassVar[str] = ""

    seq: int = 0
    """Place in the journal, from 1; 0 before it is appended."""
    at: datetime = NOT_YET
    """When it was appended, with its time zone."""

    def __init_subclass__(cls, *, name: str) -> None:
        cls.NAME = name
        if name:
            CLASSES[name] = cls

    @property
    def event(self) -> str:
        """Its name on disk."""
        return self.NAME


class Unknown(Event, name=""):
    """An event of a later version: kept and passed over."""

    called: str
    values: Mapping[str, Any]

    @property
    def event(self) -> str:
        return self.called


def read_event(entry: Mapping[str, Any]) -> Event:
    """The event of a parsed line. Raises FieldProblem."""
    cls = CLASSES.get(entry["event"])
    if cls is not None:
        return decode(cls, entry)
    values = {name: value for name, value in entry.items() if name not in HEAD}
    return Unknown(seq=entry["seq"], at=datetime.fromisoformat(entry["at"]), called=entry["event"], values=values)


def line_of(event: Event) -> Json:
    """The entry that an event is on disk."""
    found = encode(event)
    head = {"seq": found.pop("seq"), "at": found.pop("at"), "event": event.event}
    return head | (found["values"] if isinstance(event, Unknown) else found)


# -- the study ------------------------------------------------------------------------------------------------------


class StudyBegun(Event, name="study"):
    """The first entry."""

    sha256: str
    """Of study.yaml."""
    config: Mapping[str, Any] = others()
    """study.yaml's fields."""


class ReferenceWritten(Event, name="reference"):
    """The study's reference was written, or a person's edit taken over."""

    sha256: str
    round: int
    version: int
    source: str


class ReferenceRestored(Event, name="restored"):
    """An earlier version, or another file, was made the study's reference by a person."""

    name: str
    """Of the file that it came from."""
    sha256: str


class Placed(Event, name="placed"):
    """The study lies here from now on."""

    root: str
    """Its folder, resolved."""
    given: str
    """Its folder as it was called."""
    copied: bool
    """Whether it is a copy: controllers and jobs so far are another folder's."""


class SettingsGiven(Event, name="settings"):
    """How the study is driven from this call on."""

    values: Mapping[str, Any] = others()
    """settings.json's fields."""


class PolicyGiven(Event, name="policy"):
    """A retry policy was given."""

    sha256: str
    path: str


class RulesGiven(Event, name="rules"):
    """Rules of acceptance were given."""

    sha256: str
    kind: str
    """"python" or "table"."""
    path: str


class StudyEnded(Event, name="ended"):
    """The study ends before this round, as a result."""

    folder: str
    round: int
    by: str
    """"model" (a planner) or "rules" (the patience)."""
    reason: str


class Paused(Event, name="paused"):
    """The circuit breaker opened: nothing is submitted."""

    kind: str = ""
    """What for (training.circuit_breaker); empty in journals of earlier versions."""
    reason: str


class Resumed(Event, name="resumed"):
    """A person closed the circuit breaker."""

    by: str


# -- who drives it --------------------------------------------------------------------------------------------------


class Started(Event, name="started"):
    """A person had the study driven from here on."""

    controller: str
    """"slurm", "cron" or "foreground"."""
    by: str
    generation: int


class StopRequested(Event, name="stop"):
    """A person had the controllers end."""

    by: str
    now: bool
    """Whether their jobs were cancelled."""


class ControllerIntent(Event, name="controller_intent"):
    """A controller job is about to be submitted under this name."""

    generation: int
    name: str
    after: str | None
    """The job that it waits for."""


class ControllerSubmitted(Event, name="controller"):
    """A controller job was submitted, or found under its name."""

    kind: str
    generation: int
    name: str
    job_id: str
    cluster: str | None
    after: str | None
    submitted_at: datetime
    adopted: bool


class ControllerRefused(Event, name="controller_refused"):
    """For certain a controller job was not submitted."""

    generation: int
    message: str


class ControllerBegan(Event, name="controller_began"):
    """A controller ticks from here on; one of a lower generation ends at its next look."""

    generation: int
    kind: str
    host: str
    pid: int
    job_id: str | None


class ControllerEnded(Event, name="controller_ended"):
    """A controller ended."""

    generation: int
    reason: str
    final: bool
    """Whether no successor is to go on."""


# -- rounds ---------------------------------------------------------------------------------------------------------


class RoundBegun(Event, name="round_begun"):
    """A round's folder was made."""

    folder: str
    round: int


class RoundForced(Event, name="forced"):
    """A person had a round run again."""

    round: int


class RoundDiscarded(Event, name="discarded"):
    """The folder of a round without proposals was removed."""

    folder: str
    round: int


class RungBegun(Event, name="rung_begun"):
    """A rung of a round was begun."""

    folder: str
    of: str
    """The round's folder."""
    rung: int
    """From 1."""
    eta: int
    epochs: tuple[int, ...]
    """Of every rung, the full training last."""
    folds: tuple[int, ...]


class RoundClosed(Event, name="closed"):
    """A round is about to be closed."""

    round: int
    folder: str
    incumbent: Mapping[str, Any] | None


class ConfirmationBegun(Event, name="confirm_begun"):
    """What is trained at fresh seeds, and at which."""

    folder: str
    key: str
    seeds: tuple[int, ...]


class Confirmed(Event, name="confirmed"):
    """A confirmation (`gain`) or a set of replicates (`noise`) is about to be closed."""

    folder: str
    gain: Mapping[str, Any] | Unsaid = omitted(default=UNSAID)
    noise: Mapping[str, Any] | Unsaid | None = omitted(default=UNSAID)


# -- submissions ----------------------------------------------------------------------------------------------------


class ScriptsTested(Event, name="tested"):
    """SLURM was asked about a round's scripts and refused none."""

    folder: str
    scripts: int
    sha256: str
    """Of what was asked."""


class Intent(Event, name="intent"):
    """An array is about to be submitted under this name."""

    name: str
    kind: str
    """"prepare", "train" or "eval"."""
    folder: str
    rows: int
    items: tuple[int, ...] = ()
    """Empty in journals of earlier versions."""
    cluster: str | Unsaid | None = UNSAID
    limit_s: int | None = None
    """Most seconds of one run of a task; None: no limit."""
    runs: int = 1
    """How often a task may run."""
    gpus: int | None = None
    """Of one task, as `cpus`. None in journals of earlier versions, which say nothing of what is asked for."""
    cpus: int | None = None


class Submitted(Event, name="submitted"):
    """An array was submitted, or found under its name."""

    name: str
    folder: str
    kind: str
    attempt: int
    launcher: str
    job_id: str
    items: tuple[int, ...]
    tasks: tuple[str, ...]
    """For each item the id by which the launcher knows it."""
    cluster: str | None
    submitted_at: float
    """Seconds since the epoch."""
    adopted: bool


class Refused(Event, name="refused"):
    """For certain an array was not submitted, and something has to be mended first."""

    name: str
    folder: str
    message: str


class Deferred(Event, name="deferred"):
    """The cluster takes no array of so many rows now."""

    name: str
    folder: str
    rows: int
    message: str


class NotFound(Event, name="not_found"):
    """The scheduler was asked for a submission in doubt and does not know it; the first such answer."""

    name: str
    folder: str


class Interrupted(Event, name="interrupted"):
    """Ctrl-C stopped these submissions of the local launcher."""

    folder: str
    names: tuple[str, ...]


# -- rows -----------------------------------------------------------------------------------------------------------


class EnvironmentFault(Record):
    """What of an end is the environment's."""

    where: str
    said: str
    remedy: str


class AttemptEnded(Event, name="outcome"):
    """How an attempt of a row ended; once for each."""

    folder: str
    row: int
    attempt: int
    outcome: Outcome
    raw: str
    """The scheduler's word."""
    node: str
    exit_code: str
    evidence: str
    memory: str | None
    """What it asked for."""
    environment: EnvironmentFault | None = omitted(default=None)


class WaveGroup(Record):
    """Rows of a wave that ask for the same."""

    rows: tuple[int, ...]
    memory: str | None
    time: str | None
    exclude: tuple[str, ...]


class Wave(Event, name="wave"):
    """Rows are about to be started again."""

    folder: str
    attempt: int
    groups: tuple[WaveGroup, ...]
    candidates: tuple[int, ...]
    """Positions of the candidates that are evaluated afresh behind it."""


class WaveSubmitted(Event, name="wave_submitted"):
    """All of a wave was handed over."""

    folder: str
    attempt: int


class GivenUp(Event, name="given_up"):
    """These rows stay as these attempts left them."""

    folder: str
    rows: tuple[int, ...]
    attempts: tuple[int, ...]
    message: str


class QuorumReached(Event, name="quorum"):
    """Enough rows are ok: these submissions are stopped."""

    folder: str
    names: tuple[str, ...]
    ok: int
    rows: int


class ResultMissing(Event, name="gone"):
    """The tasks of these rows are gone and no result shows yet; from here on it is waited for."""

    folder: str
    rows: tuple[int, ...]
    attempts: tuple[int, ...]
    """How often each was handed over."""


class Superseded(Event, name="overtaken"):
    """Results of earlier attempts came after all: these attempts are stopped."""

    folder: str
    rows: tuple[int, ...]
    attempts: tuple[int, ...]


class Cancelled(Event, name="cancelled"):
    """A person cancelled rows, through Roundtable or with scancel."""

    folder: str
    round: int
    rows: tuple[int, ...]
    whole: bool
    """Whether the whole round was meant, which then waits."""
    names: tuple[str, ...]
    who: str = "person"
    """"person", or "scancel" beside Roundtable."""
    by: str
    request: str | None = None


class RetryAsked(Event, name="retry_asked"):
    """A person had a round go on, with these rows trained again."""

    folder: str
    round: int
    rows: tuple[int, ...]
    source: str


class Released(Event, name="released"):
    """A person had a cancelled round closed with what is there."""

    folder: str
    round: int
    source: str


class SummaryGiven(Event, name="summary_given"):
    """A person brought a summary instead of results."""

    folder: str
    path: str
    source: str


# -- hours ----------------------------------------------------------------------------------------------------------


class Charged(Event, name="charge"):
    """The most that a submission may take; once for each."""

    name: str
    folder: str
    kind: str
    items: tuple[int, ...]
    rows: int
    runs: int = 1
    limit_s: int | None
    gpus: int
    cpus: int
    gpu_hours: float | None
    cpu_hours: float | None


class Refunded(Event, name="refund"):
    """What rows of a submission took."""

    folder: str
    name: str
    seconds: Mapping[int, float]
    """Item -> seconds of all its runs."""
    held: Mapping[int, Mapping[str, float]] | None = omitted(default=None)
    """Item -> CPU- and GPU-seconds that it was allocated, where accounting tells."""
    gpu_hours: float | None
    cpu_hours: float | None


class OverBudget(Event, name="over_budget"):
    """A submission that could exceed a cap was not made."""

    folder: str
    message: str


# -- language models ------------------------------------------------------------------------------------------------


class ModelCalled(Event, name="llm_call"):
    """A language model is about to be asked."""

    call: str
    """The exchange's file below the study's folder, without .json."""
    role: str
    provider: str
    model: str
    prompt_sha256: str = ""
    worst_tokens: int
    worst_cost: float | None
    """USD; None where the price is unknown."""


class ModelReplied(Event, name="llm_reply"):
    """What a call came to."""

    call: str
    usage: Mapping[str, int]
    """Tokens and searches, as agent.llm.base.Usage names them."""
    cost: float | None
    lost: int = 0
    """Tries that were sent and ended without an answer."""
    error: str | None
    """The class of the error that it ended with."""
    usage_note: str = omitted(default="")


class AnswerFormatsLearnt(Event, name="llm_rungs"):
    """How structure was last asked for at each endpoint."""

    rungs: Mapping[str, str]
