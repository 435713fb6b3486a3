"""The options that begin a study, drive it and change how it is driven: those of `tune`, `init` and `start`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic

from agent import names
from agent.model_roles import ROLES
from agent.options.kinds import (
    BOUNDS,
    COUNT,
    DATA,
    DOLLARS,
    FLAG,
    FROM_0,
    HOURS,
    NAMES,
    NUMBERS,
    PATH,
    PATHS,
    ROLE_MODELS,
    SECONDS,
    SHARE,
    SWITCH,
    TEXT,
    WORD,
    Choice,
    count,
)
from agent.options.option import CALL, FROZEN, STUDY, Unset, declared, option

if TYPE_CHECKING:
    from pathlib import Path

    from trainers.contract import Value

#: Their number is one digit of a folder's name; each trains eta times as long as the one before.
MOST_RUNGS = 9

BEGIN = ("init", "tune")
ROUND_COMMANDS = ("submit", "collect", "retry")
GO_ON = ("tick", "start", "stop", *ROUND_COMMANDS, "cancel", "status", "costs")
TUNE = ("tune",)
DRIVE = ("tune", "start")

LAUNCHER = Choice(names.LAUNCHERS, plugins="launchers")
PROPOSER = Choice(names.PROPOSERS, plugins="proposers")
PROVIDER = Choice(names.PROVIDERS, plugins="providers", action="provider")

AGENTS = "agents (doc/agents.md)"
BUDGETS = "budgets (doc/budgets.md)"
OUTPUT = "output"
FIXED = "fixed when the study begins"
ROUNDS = "rounds"
STUDY_GROUP = "study"
WHERE = "where it runs"


@declared(group=STUDY_GROUP, commands=BEGIN)
class NewStudy:
    """Which study `init` and `tune` are about."""

    task: str = option(TEXT, "data set or problem, such as digits; part of file and job names", metavar="T")
    trainer: str | None = option(
        TEXT,
        "a shipped trainer (see `roundtable trainers`) or the path of a trainer's YAML; needed for a new study",
        default=None,
        metavar="NAME|YAML",
    )
    study: str | None = option(
        TEXT, "name of the study's folder", default=None, unless="the task's short form", metavar="NAME"
    )


@declared(
    group=STUDY_GROUP,
    commands=(*BEGIN, *GO_ON, "reference history", "reference restore", "graph", "doctor"),
)
class Place:
    """Where studies are."""

    output_dir: Path = option(PATH, "folder that holds the studies", default="runs", metavar="DIR")


@declared(scope=CALL, group=ROUNDS, commands=TUNE)
class ThisCall:
    """What one call of `tune` does."""

    max_rounds: int | None = option(COUNT, "rounds in this call", default=None, unless="1", metavar="N")
    force_round: int | None = option(
        COUNT, "run round N again; the number of rounds stays as it is", default=None, metavar="N"
    )
    val_summary: Path | None = option(
        PATH, "validation summary of the open round, written by hand", default=None, metavar="PATH"
    )
    test_summary: Path | None = option(
        PATH, "test summary, written by hand, for the report", default=None, metavar="PATH"
    )


@declared(group=WHERE, commands=TUNE)
class Mode:
    """Whether rounds are only rendered. Ticks go on as the last call of `tune` said."""

    slurm: bool = option(FLAG, "render array scripts and print the sbatch lines that submit them", default=False)
    auto_train: bool = option(
        FLAG, "submit each round, wait for it and go on, instead of only rendering it", default=False
    )


@declared(scope=STUDY, group=WHERE, commands=DRIVE)
class Driving(Generic[Unset]):
    """What `start` may change too."""

    candidates: int | Unset = option(
        COUNT, "candidates a round, all trained in one array", default=1, metavar="K", group=ROUNDS
    )
    launcher: str | Unset = option(
        LAUNCHER, "what starts the trials", default="local", unless="submitit where sbatch exists, else local"
    )
    parallel: int | Unset | None = option(
        COUNT,
        "most trials at a time: the %N of a SLURM array, or the local launcher's workers",
        default=None,
        metavar="N",
    )
    requeue_on_timeout: bool | Unset | None = option(
        SWITCH,
        "tasks save a checkpoint and requeue themselves at their time limit (doc/requeue.md)",
        default=None,
        unless="the profile's",
    )
    poll_s: float | Unset = option(
        SECONDS,
        "least number of seconds between two questions to the scheduler",
        default=60.0,
        flags=("--poll",),
        metavar="S",
    )


@declared(group=WHERE, commands=DRIVE)
class Start:
    """What a call of `tune` and one of `start` have in common beside `Driving`."""

    max_iterations: int | None = option(
        COUNT,
        "rounds in all: the study ends with the round of this number",
        default=None,
        unless="the study's",
        metavar="N",
        group=ROUNDS,
        commands=("start",),
    )
    profile: Path | None = option(
        PATH, "cluster profile (doc/profiles.md)", default=None, metavar="YAML", scope=STUDY
    )
    resume: bool = option(
        FLAG,
        "submit again although the study is paused: closes its circuit breaker (doc/unattended.md)",
        default=False,
    )


@declared(scope=STUDY, group=ROUNDS, commands=TUNE)
class Rounds(Generic[Unset]):
    """How rounds are trained and what is measured."""

    rungs: int | Unset = option(
        count(1, MOST_RUNGS),
        "how often the candidates of a round are trained, each time fewer of them for longer; 1: once, in full "
        "(doc/rungs.md)",
        default=1,
        metavar="N",
    )
    eta: int | Unset = option(
        count(2),
        "of a rung one candidate in N goes on, and is trained for N times as many epochs",
        default=3,
        metavar="N",
    )
    rung_folds: int | Unset = option(COUNT, "folds that the rungs before the last one train", default=1, metavar="N")
    patience: int | Unset | None = option(
        COUNT, "end the study after N rounds in a row without an accepted gain", default=None, metavar="N"
    )
    use_test: bool | Unset = option(
        FLAG, "evaluate on the test set too; agents do not see the results", default=False, flags=("--use-test-data",)
    )
    confirm: str | Unset = option(
        Choice(names.CONFIRM),
        "final: after the last round of a call with --auto-train, train the best candidate and the default again at "
        "fresh seeds and print the paired gain; round: also each round's winner and what it replaced",
        default="final",
    )
    confirm_seeds: int | Unset = option(COUNT, "fresh seeds of a confirmation", default=3, metavar="N")
    replicates: int | Unset | None = option(
        count(2),
        "train the incumbent at N fresh seeds, once a study, to measure the noise",
        default=None,
        metavar="N",
    )
    also: tuple[str, ...] | Unset = option(
        BOUNDS,
        "a further objective, such as seconds:minimize (doc/objectives.md); `none` removes all",
        default=(),
        metavar="Q:minimize",
    )
    limits: tuple[str, ...] | Unset = option(
        BOUNDS,
        "a bound that the leading candidate must keep, such as seconds<=600; `none` removes all",
        default=(),
        flags=("--limit",),
        metavar="Q<=X",
    )


@declared(scope=STUDY, group=WHERE, commands=TUNE)
class Files:
    """Files that are copied into the study."""

    policy: Path | None = option(
        PATH,
        "what is done about each outcome of a row, such as a retry (templates/policy.yaml)",
        default=None,
        unless="the shipped one",
        metavar="YAML",
    )
    rules: Path | None = option(
        PATH,
        "rules of acceptance, a table (.yaml) or a function (.py): when a candidate becomes the incumbent "
        "(doc/acceptance.md)",
        default=None,
        unless="the shipped ones",
        metavar="FILE",
        group=ROUNDS,
    )


@declared(scope=STUDY, commands=TUNE)
class Resources(Generic[Unset]):
    """What the study may use."""

    gpus: tuple[str, ...] | Unset = option(
        NAMES,
        "GPUs that the local launcher hands out, by CUDA's names",
        default=(),
        unless="all",
        metavar="0,1",
        group=WHERE,
    )
    max_gpu_hours: float | Unset | None = option(
        HOURS,
        "most GPU-hours of the study; a submission that could exceed it is refused",
        default=None,
        metavar="H",
        group=BUDGETS,
    )
    max_cpu_hours: float | Unset | None = option(
        HOURS, "the same for hours of CPU cores", default=None, metavar="H", group=BUDGETS
    )
    max_hours: float | Unset | None = option(
        HOURS,
        "no round is opened later than H hours after the study's first submission",
        default=None,
        metavar="H",
        group=BUDGETS,
    )


@declared(scope=STUDY, group=AGENTS, commands=TUNE)
class Provider(Generic[Unset]):
    """Who answers for the language models."""

    provider: str | Unset = option(
        PROVIDER,
        "who answers for the language models: anthropic, openai, deepseek, openrouter, gemini, ollama, vllm, custom "
        "(with --base-url), scripted FILE, or none: Bayesian proposals and rules only",
        default="none",
        metavar=("NAME", "FILE"),
    )


@declared(scope=STUDY, group=AGENTS, commands=TUNE)
class Models:
    """Which language models answer. Kept together as `llm` of the study's settings; never a key."""

    script: Path | None = option(
        PATH, "file of the answers of provider scripted (--provider scripted FILE)", default=None, flags=()
    )
    model: str | None = option(
        WORD, "model of every role that has none of its own", default=None, unless="the provider's own", metavar="M"
    )
    role_models: Mapping[str, str] = option(
        ROLE_MODELS,
        "model of the {role}",
        default={},
        flags=tuple(role.option for role in ROLES.values()),
        metavar="M",
        variables=tuple(role.model_variable for role in ROLES.values() if role.model_variable is not None),
    )
    base_url: str | None = option(
        WORD,
        "address at which the models are asked",
        default=None,
        unless="the provider's own",
        metavar="URL",
        variables=("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "GEMINI_OPENAI_BASE_URL"),
    )
    key_env: str | None = option(
        WORD,
        "name of the environment variable that holds the key",
        default=None,
        unless="the provider's usual one",
        metavar="VARIABLE",
    )
    llm_config: Path | None = option(
        PATH, "file with provider, model, address and key variable of each role", default=None, metavar="YAML"
    )
    llm_prices: Path | None = option(
        PATH, "price table that comes before the shipped one", default=None, metavar="FILE"
    )
    max_llm_cost: float | None = option(
        DOLLARS,
        "most US dollars that the study's calls may cost; a call that could exceed it is not made",
        default=None,
        metavar="USD",
    )
    max_llm_tokens: int | None = option(
        COUNT, "most tokens of the study's calls, input and output together", default=None, metavar="N"
    )
    search_provider: str | None = option(
        Choice(names.SEARCH_PROVIDERS),
        "whose web search the researcher uses to look for remedies",
        default=None,
        unless="none",
        variables=("GEMINI_USE_GOOGLE_SEARCH",),
    )


@declared(scope=STUDY, group=AGENTS, commands=TUNE)
class Agents(Generic[Unset]):
    """Who proposes, and what agents do and see."""

    proposer: str | Unset = option(
        PROPOSER,
        "who proposes from round 2 on: bayes (TPE), gp (a Gaussian process that says what it expects), llm, panel "
        "(two consultants and a supervisor), hybrid (a share by the model, the rest Bayesian), or planner (small, "
        "medium and radical steps; by rules without a provider)",
        default="bayes",
        unless="llm with a provider, else bayes",
    )
    escalate_after: int | Unset = option(
        COUNT, "planner: rounds without an accepted gain before its rules take a deeper step", default=2, metavar="N"
    )
    llm_share: float | Unset = option(
        SHARE, "hybrid: share of the candidates that a language model proposes", default=0.3, metavar="F"
    )
    llm_warmup: int | Unset = option(
        FROM_0, "hybrid: number of scored candidates before a language model is asked", default=4, metavar="N"
    )
    consult_turns: int | Unset = option(COUNT, "panel: how often each consultant speaks", default=2, metavar="N")
    planner: bool | Unset = option(
        SWITCH, "hybrid: a planner chooses how far each round goes, and proposes the model's share", default=False
    )
    analyst: bool | Unset = option(SWITCH, "a language model reads the curves of the newest round", default=True)
    critique: bool | Unset = option(
        SWITCH, "a language model checks a model's proposals after the rules have", default=True
    )
    anonymize: bool | Unset = option(
        SWITCH,
        "names of data, model, task, classes, paths, user and hosts are replaced in what is sent",
        default=True,
    )
    agents_see_test: bool | Unset = option(
        SWITCH, "test values are shown to agents; the report then says so", default=False
    )
    prompts: Path | Unset | None = option(
        PATH, "folder of prompt files that replace the shipped ones of the same name", default=None, metavar="DIR"
    )


@declared(scope=FROZEN, group=FIXED, commands=BEGIN)
class Frozen:
    """What must not change while rounds are compared with each other."""

    hp_ref: Path | None = option(
        PATH,
        "hyperparameter reference to begin with; it is copied and never written",
        default=None,
        unless="the trainer's own",
        metavar="PATH",
    )
    tune_names: tuple[str, ...] | None = option(
        NAMES,
        "documented parameters that are tuned too, though not by default; `all` for every one",
        default=None,
        flags=("--tune",),
        metavar="NAMES",
    )
    warm_start: tuple[Path, ...] | None = option(
        PATHS,
        "folder of an earlier study whose best settings are tried first (doc/warm-start.md)",
        default=None,
        metavar="DIR",
    )
    folds: tuple[int, ...] | None = option(
        NUMBERS, "folds that every candidate trains", default=None, unless="the trainer's", metavar="0-4"
    )
    seeds: tuple[int, ...] | None = option(
        NUMBERS,
        "seeds that every candidate trains each fold with",
        default=None,
        unless="the trainer's, else --seed",
        metavar="0,1",
    )
    epochs: int | None = option(COUNT, "epochs of a training", default=None, unless="the trainer's", metavar="N")
    seed: int | None = option(
        FROM_0, "seed of the proposals, and of training without --seeds", default=None, unless="0", metavar="S"
    )
    data: Mapping[str, Value] = option(
        DATA, "what the trainer must know of the data, such as path=X.npz", default={}, metavar="KEY=VALUE"
    )


class StudyOptions(Driving[Unset], Rounds[Unset], Resources[Unset], Provider[Unset], Agents[Unset]):
    """All that a study keeps as its settings and that a call may change."""


class Call(NewStudy, Place, ThisCall, Start, Mode, StudyOptions[None], Files, Models, Frozen):
    """All that a call of `tune` may say: the fields of TuneOptions."""
