"""The options of one call, documented once: --help and the guides use the same words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.api.agent_options import PROPOSERS, PROVIDERS, AgentOptions
from agent.errors import UsageError
from agent.llm.config_checks import SEARCH_PROVIDERS
from agent.llm.roles import ROLES
from trainers.contract import Value

LAUNCHERS = ("submitit", "sbatch", "local")
CONFIRM = ("final", "round", "never")


@dataclass(frozen=True, kw_only=True)
class TuneOptions(AgentOptions):
    """One call of tune. Fields set to None keep what the study has, or take the default when it is new.

    Paths may be given as text, and tuples as lists. Raises UsageError with everything that is wrong.
    """

    task: str
    """Data set or problem, e.g. "digits"; part of file and job names."""
    trainer: str | None = None
    """A shipped trainer's name, or the path of a trainer's YAML. Needed when the study is new."""
    study: str | None = None
    """Name of the study's folder; the task's slug when not given."""
    output_dir: Path = Path("runs")
    hp_ref: Path | None = None
    """A reference to begin the study with; copied, the original is never written."""
    max_rounds: int | None = None
    """Rounds in this call; 1 when neither this nor max_iterations is given."""
    max_iterations: int | None = None
    """Rounds in all: the study ends with this round's number."""
    candidates: int | None = None
    rungs: int | None = None
    """How often a round's candidates are trained, each time fewer of them for longer (doc/rungs.md); 1: once."""
    eta: int | None = None
    """One in so many candidates goes on to the next rung, for so many times as many epochs."""
    rung_folds: int | None = None
    """Folds that rungs before the full training use."""
    folds: tuple[int, ...] | None = None
    seeds: tuple[int, ...] | None = None
    epochs: int | None = None
    seed: int | None = None
    data: Mapping[str, Value] = field(default_factory=dict)
    slurm: bool = False
    auto_train: bool = False
    launcher: str | None = None
    profile: Path | None = None
    policy: Path | None = None
    """What is done about each outcome of a row; the shipped table when the study has none."""
    rules: Path | None = None
    """When a candidate takes the incumbent's place: a table (.yaml) or a function (.py), doc/acceptance.md."""
    parallel: int | None = None
    requeue_on_timeout: bool | None = None
    """Whether training tasks requeue themselves at their time limit (doc/requeue.md)."""
    max_gpu_hours: float | None = None
    """The most GPU-hours that the study may take: what could exceed it is not submitted (doc/budgets.md)."""
    max_cpu_hours: float | None = None
    max_hours: float | None = None
    """No round is opened later than this many hours after the study's first submission."""
    gpus: tuple[str, ...] | None = None
    use_test: bool | None = None
    val_summary: Path | None = None
    test_summary: Path | None = None
    force_round: int | None = None
    confirm: str | None = None
    confirm_seeds: int | None = None
    replicates: int | None = None
    """Train the incumbent at so many fresh seeds (once a study), for the noise floor alone."""
    also: tuple[str, ...] | None = None
    """Further objectives, such as "seconds:minimize" (doc/objectives.md); empty: none any more."""
    limits: tuple[str, ...] | None = None
    """Bounds that whatever leads must keep, such as "seconds<=600"; empty: none any more."""
    poll_s: float | None = None
    resume: bool = False
    """Close the circuit breaker of a paused study (doc/unattended.md)."""
    tune_names: tuple[str, ...] | None = None
    """Documented parameters that are not tuned by default and shall be ("all": every one). New studies only."""

    warm_start: tuple[Path, ...] | None = None
    """Folders of earlier studies whose best settings are tried first (doc/warm-start.md). New studies only."""

    def __post_init__(self) -> None:
        problems = []
        for names, (fits, wanted) in _ALLOWED.items():
            for name in names:
                value = _normal(name, getattr(self, name))
                object.__setattr__(self, name, value)
                if not (value is None and name in _OPTIONAL) and not fits(value):
                    problems.append(f"{name} = {value!r}: must be {wanted}")
        if self.max_rounds is not None and self.max_iterations is not None:
            problems.append(
                f"max_rounds = {self.max_rounds!r} and max_iterations = {self.max_iterations!r}: give one of them; "
                "max_rounds counts this call's rounds, max_iterations the study's"
            )
        problems += _data_problems(self.data)
        problems += _role_problems(self.role_models)
        if (self.provider == "scripted") != (self.script is not None):
            problems.append("provider scripted and script belong together: --provider scripted FILE")
        if problems:
            raise UsageError("\n".join(problems))


_PATHS = ("output_dir", "hp_ref", "profile", "policy", "rules", "val_summary", "test_summary")
_AGENT_PATHS = ("script", "llm_config", "llm_prices", "prompts")
_NUMBERS = ("folds", "seeds")
_WORDS = ("gpus", "tune_names")
_SAID = ("also", "limits")
_REQUIRED = ("task", "output_dir", "slurm", "auto_train", "resume")


def _normal(name: str, value: object) -> object:
    """Text of a path as a Path, a list as a tuple; everything else as it is, to be judged."""
    if name in (*_PATHS, *_AGENT_PATHS) and isinstance(value, str) and value:
        return Path(value)
    if name == "warm_start" and isinstance(value, (list, tuple)):
        return tuple(Path(each) if isinstance(each, str) and each else each for each in value)
    if name in (*_NUMBERS, *_WORDS, *_SAID) and isinstance(value, list):
        return tuple(value)
    return value


def _whole(low: int, high: float = math.inf) -> Callable[[object], bool]:
    # True is an int to Python, but nobody means it as a count.
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _distinct(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    """Whether a value is a tuple of different, fitting things, at least one."""
    return lambda value: (
        isinstance(value, tuple) and value != () and all(map(fits, value)) and len(set(value)) == len(value)
    )


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _one_of(allowed: tuple[str, ...]) -> tuple[Callable[[object], bool], str]:
    return (lambda value: isinstance(value, str) and value in allowed), f"one of {', '.join(allowed)}"


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


#: Their number is one digit of a folder's name; each trains eta times as long as the one before.
MOST_RUNGS = 9

#: Fields, and what each of them may be.
_ALLOWED: Mapping[tuple[str, ...], tuple[Callable[[object], bool], str]] = {
    ("task", "trainer", "study"): (_text, "text, and not empty"),
    _PATHS: (lambda value: isinstance(value, Path), "a path, as a Path or as text that is not empty"),
    ("max_rounds", "max_iterations", "candidates", "epochs", "parallel", "force_round"): (
        _whole(1),
        "a whole number from 1",
    ),
    ("confirm_seeds", "rung_folds"): (_whole(1), "a whole number from 1"),
    ("replicates", "eta"): (_whole(2), "a whole number from 2"),
    ("rungs",): (_whole(1, MOST_RUNGS), f"a whole number from 1 to {MOST_RUNGS}"),
    ("seed",): (_whole(0), "a whole number from 0"),
    _NUMBERS: (_distinct(_whole(0)), "a tuple of different whole numbers from 0, such as (0, 1)"),
    ("warm_start",): (_distinct(lambda value: isinstance(value, Path)), "a tuple of different paths of studies"),
    _SAID: (
        lambda value: value == () or _distinct(_text)(value),
        'a tuple of different texts, such as ("seconds<=600",); empty: none any more',
    ),
    _WORDS: (_distinct(_text), 'a tuple of different texts, such as ("0", "1")'),
    ("slurm", "auto_train", "use_test", "resume"): (lambda value: isinstance(value, bool), "True or False"),
    ("launcher",): _one_of(LAUNCHERS),
    ("confirm",): _one_of(CONFIRM),
    ("provider",): _one_of(PROVIDERS),
    ("proposer",): _one_of(PROPOSERS),
    ("search_provider",): _one_of(SEARCH_PROVIDERS),
    ("model", "base_url", "key_env"): (_text, "text, and not empty"),
    _AGENT_PATHS: (lambda value: isinstance(value, Path), "a path, as a Path or as text that is not empty"),
    ("max_llm_cost",): (_positive, "a number of dollars above 0"),
    ("max_llm_tokens", "consult_turns", "escalate_after", "patience"): (_whole(1), "a whole number from 1"),
    ("llm_warmup",): (_whole(0), "a whole number from 0"),
    ("llm_share",): (lambda value: _positive(value) and value <= 1, "a share above 0 and at most 1"),  # type: ignore[operator]
    ("planner", "analyst", "critique", "anonymize", "agents_see_test", "requeue_on_timeout"): (
        lambda value: isinstance(value, bool),
        "True or False",
    ),
    ("max_gpu_hours", "max_cpu_hours", "max_hours"): (_positive, "a number of hours above 0"),
    ("poll_s",): (_positive, "a number of seconds above 0"),
}
_OPTIONAL = frozenset(name for names in _ALLOWED for name in names if name not in _REQUIRED)


def _role_problems(models: object) -> list[str]:
    if not isinstance(models, Mapping):
        return [f"role_models = {models!r}: must be a mapping of roles to models, of {', '.join(ROLES)}"]
    return [
        f"role_models[{role!r}] = {model!r}: must be a model's name (text) for one of {', '.join(ROLES)}"
        for role, model in models.items()
        if role not in ROLES or not _text(model)
    ]


def _data_problems(data: object) -> list[str]:
    if not isinstance(data, Mapping):
        return [f'data = {data!r}: must be a mapping of names to values, such as {{"path": "images.npz"}}']
    return [
        f"data[{key!r}] = {value!r}: must be a name (text) with a str, bool, int or finite float"
        for key, value in data.items()
        if not _text(key)
        or not isinstance(value, (str, int, float))
        or (isinstance(value, float) and not math.isfinite(value))
    ]
