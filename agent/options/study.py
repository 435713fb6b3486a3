"""The options that begin a study, drive it and change how it is driven: those of `tune`, `init` and `start`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic

from agent import names
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

    task: str = option(kind=TEXT, metavar="T", help="data set or problem, such as digits; part of file and job names")
    trainer: str | None = option(
        kind=TEXT,
        default=None,
        metavar="NAME|YAML",
        help="a shipped trainer (see `roundtable trainers`) or the path of a trainer's YAML; needed for a new study",
    )
    study: str | None = option(
        kind=TEXT, default=None, metavar="NAME", unless="the task's short form", help="name of the study's folder"
    )


@declared(
    group=STUDY_GROUP,
    commands=(*BEGIN, *GO_ON, "reference history", "reference restore", "graph", "doctor"),
)
class Place:
    """Where studies are."""

    output_dir: Path = option(kind=PATH, default="runs", metavar="DIR", help="folder that holds the studies")


@declared(scope=CALL, group=ROUNDS, commands=TUNE)
class ThisCall:
    """What one call of `tune` does."""

    max_rounds: int | None = option(kind=COUNT, default=None, metavar="N", unless="1", help="rounds in this call")
    force_round: int | None = option(
        kind=COUNT, default=None, metavar="N", help="run round N again; the number of rounds stays as it is"
    )
    val_summary: Path | None = option(
        kind=PATH, default=None, metavar="PATH", help="validation summary of the open round, written by hand"
    )
    test_summary: Path | None = option(
        kind=PATH, default=None, metavar="PATH", help="test summary, written by hand, for the report"
    )


@declared(group=WHERE, commands=TUNE)
class Mode:
    """Whether rounds are only rendered. Ticks go on as the last call of `tune` said."""

    slurm: bool = option(
        kind=FLAG, default=False, help="render array scripts and print the sbatch lines that submit them"
    )
    auto_train: bool = option(
        kind=FLAG, default=False, help="submit each round, wait for it and go on, instead of only rendering it"
    )


@declared(scope=STUDY, group=WHERE, commands=DRIVE)
class Driving(Generic[Unset]):
    """What `start` may change too."""

    candidates: int | Unset = option(
        kind=COUNT, default=1, metavar="K", group=ROUNDS, help="candidates a round, all trained in one array"
    )
    launcher: str | Unset = option(
        kind=LAUNCHER,
        default="local",
        unless="submitit where sbatch exists, else local",
        help="what starts the trials",
    )
    parallel: int | Unset | None = option(
        kind=COUNT,
        default=None,
        metavar="N",
        help="most trials at a time: the %N of a SLURM array, or the local launcher's workers",
    )
    requeue_on_timeout: bool | Unset | None = option(
        kind=SWITCH,
        default=None,
        unless="the profile's",
        help="tasks save a checkpoint and requeue themselves at their time limit (doc/requeue.md)",
    )
    poll_s: float | Unset = option(
        kind=SECONDS,
        default=60.0,
        flags=("--poll",),
        metavar="S",
        help="least number of seconds between two questions to the scheduler",
    )


@declared(group=WHERE, commands=DRIVE)
class Start:
    """What a call of `tune` and one of `start` have in common beside `Driving`."""

    max_iterations: int | None = option(
        kind=COUNT,
        default=None,
        metavar="N",
        group=ROUNDS,
        commands=("start",),
        unless="the study's",
        help="rounds in all: the study ends with the round of this number",
    )
    profile: Path | None = option(
        kind=PATH, default=None, metavar="YAML", scope=STUDY, help="cluster profile (doc/profiles.md)"
    )
    resume: bool = option(
        kind=FLAG,
        default=False,
        help="submit again although the study is paused: closes its circuit breaker (doc/unattended.md)",
    )


@declared(scope=STUDY, group=ROUNDS, commands=TUNE)
class Rounds(Generic[Unset]):
    """How rounds are trained and what is measured."""

    rungs: int | Unset = option(
        kind=count(1, MOST_RUNGS),
        default=1,
        metavar="N",
        help="how often the candidates of a round are trained, each time fewer of them for longer; 1: once, in full "
        "(doc/rungs.md)",
    )
    eta: int | Unset = option(
        kind=count(2),
        default=3,
        metavar="N",
        help="of a rung one candidate in N goes on, and is trained for N times as many epochs",
    )
    rung_folds: int | Unset = option(
        kind=COUNT, default=1, metavar="N", help="folds that the rungs before the last one train"
    )
    patience: int | Unset | None = option(
        kind=COUNT, default=None, metavar="N", help="end the study after N rounds in a row without an accepted gain"
    )
    use_test: bool | Unset = option(
        kind=FLAG,
        default=False,
        flags=("--use-test-data",),
        help="evaluate on the test set too; agents do not see the results",
    )
    confirm: str | Unset = option(
        kind=Choice(names.CONFIRM),
        default="final",
        help="final: after the last round of a call with --auto-train, train the best candidate and the default "
        "again at fresh seeds and print the paired gain; round: also each round's winner and what it replaced",
    )
    confirm_seeds: int | Unset = option(kind=COUNT, default=3, metavar="N", help="fresh seeds of a confirmation")
    replicates: int | Unset | None = option(
        kind=count(2),
        default=None,
        metavar="N",
        help="train the incumbent at N fresh seeds, once a study, to measure the noise",
    )
    also: tuple[str, ...] | Unset = option(
        kind=BOUNDS,
        default=(),
        metavar="Q:minimize",
        help="a further objective, such as seconds:minimize (doc/objectives.md); `none` removes all",
    )
    limits: tuple[str, ...] | Unset = option(
        kind=BOUNDS,
        default=(),
        flags=("--limit",),
        metavar="Q<=X",
        help="a bound that the leading candidate must keep, such as seconds<=600; `none` removes all",
    )


@declared(scope=STUDY, group=WHERE, commands=TUNE)
class Files:
    """Files that are copied into the study."""

    policy: Path | None = option(
        kind=PATH,
        default=None,
        metavar="YAML",
        unless="the shipped one",
        help="what is done about each outcome of a row, such as a retry (templates/policy.yaml)",
    )
    rules: Path | None = option(
        kind=PATH,
        default=None,
        metavar="FILE",
        group=ROUNDS,
        unless="the shipped ones",
        help="rules of acceptance, a table (.yaml) or a function (.py): when a candidate becomes the incumbent "
        "(doc/acceptance.md)",
    )


@declared(scope=STUDY, commands=TUNE)
class Resources(Generic[Unset]):
    """What the study may use."""

    gpus: tuple[str, ...] | Unset = option(
        kind=NAMES,
        default=(),
        group=WHERE,
        metavar="0,1",
        unless="all",
        help="GPUs that the local launcher hands out, by CUDA's names",
    )
    max_gpu_hours: float | Unset | None = option(
        kind=HOURS,
        default=None,
        group=BUDGETS,
        metavar="H",
        help="most GPU-hours of the study; a submission that could exceed it is refused",
    )
    max_cpu_hours: float | Unset | None = option(
        kind=HOURS, default=None, group=BUDGETS, metavar="H", help="the same for hours of CPU cores"
    )
    max_hours: float | Unset | None = option(
        kind=HOURS,
        default=None,
        group=BUDGETS,
        metavar="H",
        help="no round is opened later than H hours after the study's first submission",
    )


@declared(scope=STUDY, group=AGENTS, commands=TUNE)
class Provider(Generic[Unset]):
    """Who answers for the language models."""

    provider: str | Unset = option(
        kind=PROVIDER,
        default="none",
        metavar=("NAME", "FILE"),
        help="who answers for the language models: anthropic, openai, deepseek, openrouter, gemini, ollama, vllm, "
        "custom (with --base-url), scripted FILE, or none: Bayesian proposals and rules only",
    )


@declared(scope=STUDY, group=AGENTS, commands=TUNE)
class Models:
    """Which language models answer. Kept together as `llm` of the study's settings; never a key."""

    script: Path | None = option(
        kind=PATH, default=None, flags=(), help="file of the answers of provider scripted (--provider scripted FILE)"
    )
    model: str | None = option(
        kind=WORD,
        default=None,
        metavar="M",
        unless="the provider's own",
        help="model of every role that has none of its own",
    )
    role_models: Mapping[str, str] = option(
        kind=ROLE_MODELS,
        default={},
        flags=tuple(f"--{role.replace('_', '-')}-model" for role in names.ROLES),
        metavar="M",
        variables=("PLANNER_MODEL", "EVALUATOR_MODEL"),
        help="model of the {role}",
    )
    base_url: str | None = option(
        kind=WORD,
        default=None,
        metavar="URL",
        unless="the provider's own",
        variables=("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "GEMINI_OPENAI_BASE_URL"),
        help="address at which the models are asked",
    )
    key_env: str | None = option(
        kind=WORD,
        default=None,
        metavar="VARIABLE",
        unless="the provider's usual one",
        help="name of the environment variable that holds the key",
    )
    llm_config: Path | None = option(
        kind=PATH,
        default=None,
        metavar="YAML",
        help="file with provider, model, address and key variable of each role",
    )
    llm_prices: Path | None = option(
        kind=PATH, default=None, metavar="FILE", help="price table that comes before the shipped one"
    )
    max_llm_cost: float | None = option(
        kind=DOLLARS,
        default=None,
        metavar="USD",
        help="most US dollars that the study's calls may cost; a call that could exceed it is not made",
    )
    max_llm_tokens: int | None = option(
        kind=COUNT, default=None, metavar="N", help="most tokens of the study's calls, input and output together"
    )
    search_provider: str | None = option(
        kind=Choice(names.SEARCH_PROVIDERS),
        default=None,
        unless="none",
        variables=("GEMINI_USE_GOOGLE_SEARCH",),
        help="whose web search the researcher uses to look for remedies",
    )


@declared(scope=STUDY, group=AGENTS, commands=TUNE)
class Agents(Generic[Unset]):
    """Who proposes, and what agents do and see."""

    proposer: str | Unset = option(
        kind=PROPOSER,
        default="bayes",
        unless="llm with a provider, else bayes",
        help="who proposes from round 2 on: bayes, llm, panel (two consultants and a supervisor), hybrid (a share by "
        "the model, the rest Bayesian), or planner (small, medium and radical steps; by rules without a provider)",
    )
    escalate_after: int | Unset = option(
        kind=COUNT,
        default=2,
        metavar="N",
        help="planner: rounds without an accepted gain before its rules take a deeper step",
    )
    llm_share: float | Unset = option(
        kind=SHARE, default=0.3, metavar="F", help="hybrid: share of the candidates that a language model proposes"
    )
    llm_warmup: int | Unset = option(
        kind=FROM_0,
        default=4,
        metavar="N",
        help="hybrid: number of scored candidates before a language model is asked",
    )
    consult_turns: int | Unset = option(
        kind=COUNT, default=2, metavar="N", help="panel: how often each consultant speaks"
    )
    planner: bool | Unset = option(
        kind=SWITCH,
        default=False,
        help="hybrid: a planner chooses how far each round goes, and proposes the model's share",
    )
    analyst: bool | Unset = option(
        kind=SWITCH, default=True, help="a language model reads the curves of the newest round"
    )
    critique: bool | Unset = option(
        kind=SWITCH, default=True, help="a language model checks a model's proposals after the rules have"
    )
    anonymize: bool | Unset = option(
        kind=SWITCH,
        default=True,
        help="names of data, model, task, classes, paths, user and hosts are replaced in what is sent",
    )
    agents_see_test: bool | Unset = option(
        kind=SWITCH, default=False, help="test values are shown to agents; the report then says so"
    )
    prompts: Path | Unset | None = option(
        kind=PATH,
        default=None,
        metavar="DIR",
        help="folder of prompt files that replace the shipped ones of the same name",
    )


@declared(scope=FROZEN, group=FIXED, commands=BEGIN)
class Frozen:
    """What must not change while rounds are compared with each other."""

    hp_ref: Path | None = option(
        kind=PATH,
        default=None,
        metavar="PATH",
        unless="the trainer's own",
        help="hyperparameter reference to begin with; it is copied and never written",
    )
    tune_names: tuple[str, ...] | None = option(
        kind=NAMES,
        default=None,
        flags=("--tune",),
        metavar="NAMES",
        help="documented parameters that are tuned too, though not by default; `all` for every one",
    )
    warm_start: tuple[Path, ...] | None = option(
        kind=PATHS,
        default=None,
        metavar="DIR",
        help="folder of an earlier study whose best settings are tried first (doc/warm-start.md)",
    )
    folds: tuple[int, ...] | None = option(
        kind=NUMBERS, default=None, metavar="0-4", unless="the trainer's", help="folds that every candidate trains"
    )
    seeds: tuple[int, ...] | None = option(
        kind=NUMBERS,
        default=None,
        metavar="0,1",
        unless="the trainer's, else --seed",
        help="seeds that every candidate trains each fold with",
    )
    epochs: int | None = option(
        kind=COUNT, default=None, metavar="N", unless="the trainer's", help="epochs of a training"
    )
    seed: int | None = option(
        kind=FROM_0,
        default=None,
        metavar="S",
        unless="0",
        help="seed of the proposals, and of training without --seeds",
    )
    data: Mapping[str, Value] = option(
        kind=DATA, default={}, metavar="KEY=VALUE", help="what the trainer must know of the data, such as path=X.npz"
    )


class StudyOptions(Driving[Unset], Rounds[Unset], Resources[Unset], Provider[Unset], Agents[Unset]):
    """All that a study keeps as its settings and that a call may change."""


class Call(NewStudy, Place, ThisCall, Start, Mode, StudyOptions[None], Files, Models, Frozen):
    """All that a call of `tune` may say: the fields of TuneOptions."""
