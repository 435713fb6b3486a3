"""Every option of every command. Their readers, which turn an option's text into a value, are in readers.py."""

from __future__ import annotations

import argparse
from typing import Any

from agent import names
from agent.options.readers import amount, count, minutes, natural, numbers, pair, path, seconds, share, word, words


def add_init(command: argparse.ArgumentParser) -> None:
    _study(command)
    _frozen(command)


def add_tune(command: argparse.ArgumentParser) -> None:
    _study(command)
    _frozen(command)
    rounds = command.add_argument_group("rounds")
    rounds.add_argument("--max-rounds", type=count, metavar="N", help="rounds in this call (default 1)")
    rounds.add_argument("--candidates", type=count, metavar="K", help="candidates a round, in one array (default 1)")
    rounds.add_argument(
        "--rungs",
        type=count,
        metavar="N",
        help="train the candidates for few epochs first and go on with the best, N times in all (doc/rungs.md)",
    )
    rounds.add_argument("--eta", type=count, metavar="N", help="of a rung one candidate in N goes on (default 3)")
    rounds.add_argument("--rung-folds", type=count, metavar="N", help="folds of rungs before the last (default 1)")
    rounds.add_argument(
        "--patience", type=count, metavar="N", help="end the study after N rounds in a row without an accepted gain"
    )
    rounds.add_argument("--force-round", type=count, metavar="N", help="run round N again; the counter stays")
    rounds.add_argument(
        "--val-summary", type=path, metavar="PATH", help="the open round's validation summary, by hand"
    )
    rounds.add_argument("--test-summary", type=path, metavar="PATH", help="test summary, by hand (for the report)")
    rounds.add_argument(
        "--use-test-data", action="store_true", default=None, help="evaluate on the test set too; agents never see it"
    )
    rounds.add_argument(
        "--confirm",
        choices=names.CONFIRM,
        help="final (default): after the last round of a call with --auto-train, train the best and the default "
        "again at fresh seeds and print the paired gain; round: also each round's winner and what it beat",
    )
    rounds.add_argument("--confirm-seeds", type=count, metavar="N", help="seeds of the confirmation (default 3)")
    rounds.add_argument(
        "--replicates", type=count, metavar="N", help="train the incumbent at N fresh seeds, for the noise floor"
    )
    rounds.add_argument(
        "--also",
        action="append",
        metavar="Q:minimize",
        help="a further objective, such as seconds:minimize (doc/objectives.md); `none` drops all",
    )
    rounds.add_argument(
        "--limit",
        action="append",
        metavar="Q<=X",
        help="a bound that whatever leads must keep, such as seconds<=600; `none` drops all",
    )
    rounds.add_argument("--rules", type=path, metavar="FILE", help="acceptance: .yaml or .py (doc/acceptance.md)")
    where = command.add_argument_group("where it runs")
    where.add_argument("--slurm", action="store_true", help="render array scripts and print their sbatch lines")
    where.add_argument("--auto-train", action="store_true", help="submit, wait and go on, instead of rendering only")
    where.add_argument(
        "--launcher",
        choices=names.LAUNCHERS,
        help="default: submitit where sbatch exists, else local",
    )
    where.add_argument("--profile", type=path, metavar="YAML", help="cluster profile (doc/profiles.md)")
    where.add_argument("--policy", type=path, metavar="YAML", help="what is retried (templates/policy.yaml)")
    where.add_argument(
        "--parallel", type=count, metavar="N", help="trials at a time: the array's %%N or local workers"
    )
    where.add_argument(
        "--requeue-on-timeout",
        action=argparse.BooleanOptionalAction,
        help="tasks save a checkpoint and requeue themselves at their time limit (default: the profile's)",
    )
    where.add_argument("--gpus", type=words, metavar="0,1", help="GPUs of the local launcher (default: all)")
    where.add_argument("--resume", action="store_true", help="submit again although the study is paused")
    where.add_argument("--dry-run", action="store_true", help="show what would be submitted next; change nothing")
    where.add_argument("--poll", type=seconds, metavar="S", help="seconds between questions to the scheduler (60)")
    hours = command.add_argument_group("budgets (doc/budgets.md)")
    hours.add_argument("--max-gpu-hours", type=amount, metavar="H", help="cap on the study's GPU-hours, worst case")
    hours.add_argument("--max-cpu-hours", type=amount, metavar="H", help="cap on the study's CPU-hours, worst case")
    hours.add_argument(
        "--max-hours", type=amount, metavar="H", help="no new round so long after the first submission"
    )
    _agents(command)
    command.add_argument("--quiet", action="store_true", help="no progress, only results and errors")
    command.add_argument("--verbose", action="store_true", help="every line of orchestrator.log on the terminal too")


def _agents(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("agents (doc/agents.md)")
    group.add_argument(
        "--provider",
        action=_Provider,
        nargs="+",
        metavar=("NAME", "FILE"),
        help="who answers for the language models: anthropic, openai, deepseek, openrouter, gemini, ollama, vllm, "
        "custom (with --base-url), scripted FILE, or none (default): Bayesian proposals and rules only",
    )
    group.add_argument("--model", type=word, metavar="M", help="model of every role that has none of its own")
    for role in names.ROLES:
        name = role.replace("_", "-")
        group.add_argument(f"--{name}-model", type=word, metavar="M", help=f"model of the {name}")
    group.add_argument("--base-url", type=word, metavar="URL", help="endpoint, where it is not the provider's own")
    group.add_argument("--key-env", type=word, metavar="VARIABLE", help="environment variable that holds the key")
    group.add_argument("--llm-config", type=path, metavar="YAML", help="provider, model and endpoint of each role")
    group.add_argument("--llm-prices", type=path, metavar="FILE", help="price table that overrides the shipped one")
    group.add_argument("--max-llm-cost", type=amount, metavar="USD", help="cap on the study's cost of calls")
    group.add_argument("--max-llm-tokens", type=count, metavar="N", help="cap on the study's tokens")
    group.add_argument(
        "--proposer",
        choices=names.PROPOSERS,
        help="who proposes from round 2 on: bayes (default without a provider), llm (default with one), panel (two "
        "consultants and a supervisor), hybrid (a share by the model, the rest Bayesian), planner (small, medium and "
        "radical steps; by rules without a provider)",
    )
    group.add_argument(
        "--escalate-after", type=count, metavar="N", help="planner: rounds without a gain before a deeper step (2)"
    )
    group.add_argument("--llm-share", type=share, metavar="F", help="hybrid: the model's share of candidates (0.3)")
    group.add_argument("--llm-warmup", type=natural, metavar="N", help="hybrid: scored candidates before it (4)")
    group.add_argument("--consult-turns", type=count, metavar="N", help="panel: turns of each consultant (2)")
    group.add_argument(
        "--search-provider",
        choices=names.SEARCH_PROVIDERS,
        help="who searches the web for remedies (none)",
    )
    switches = {
        "planner": "hybrid: a planner chooses how far each round goes, and proposes the model's share",
        "analyst": "a model reads the newest round's curves",
        "critique": "a model looks at a model's proposals after the rules did",
        "anonymize": "names of data, model, task, classes, paths, user and hosts are replaced in what is sent",
        "agents-see-test": "test values are shown to agents (not by default; the decision says so)",
    }
    for name, text in switches.items():
        group.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=None, help=text)
    group.add_argument("--prompts", type=path, metavar="DIR", help="prompt files that replace the shipped ones")


def add_costs(command: argparse.ArgumentParser) -> None:
    _which(command)
    command.add_argument("--json", action="store_true", help="the same as JSON")


def add_replay(command: argparse.ArgumentParser) -> None:
    command.add_argument("round", type=path, metavar="runs/STUDY/round_N_...", help="folder of a decided round")
    command.add_argument(
        "--run-rules",
        action="store_true",
        help="also run the study's acceptance.py, a person's code, to give its verdicts again",
    )


def add_graph(command: argparse.ArgumentParser) -> None:
    command.add_argument("--study", metavar="NAME|DIR", help="a study whose settings are drawn")
    command.add_argument("--output-dir", type=path, default="runs", metavar="DIR", help="where studies are (runs)")
    command.add_argument(
        "--proposer",
        choices=names.PROPOSERS,
        help="who proposes (default: the study's, or hybrid)",
    )
    command.add_argument(
        "--output", type=path, metavar="FILE", help=".svg, .png (extra graph) or .mmd; without it Mermaid on stdout"
    )


def add_tick(command: argparse.ArgumentParser) -> None:
    _which(command)
    command.add_argument(
        "--unattended", action="store_true", help="for cron: nothing after `roundtable stop`, dated lines"
    )
    command.add_argument("--verbose", action="store_true", help="every line of orchestrator.log on the terminal too")


def add_submit(command: argparse.ArgumentParser) -> None:
    _open_round(command)


def add_collect(command: argparse.ArgumentParser) -> None:
    _open_round(command)


def add_retry(command: argparse.ArgumentParser) -> None:
    _open_round(command)
    command.add_argument("--rows", type=numbers, metavar="0-3,7", help="these rows (default: all without a result)")
    command.add_argument("--failed", action="store_true", help="also rows whose result is no score, such as crashed")


def add_cancel(command: argparse.ArgumentParser) -> None:
    _which(command)
    command.add_argument("--round", type=count, metavar="N", help="the open round's number, to be sure")
    command.add_argument("--rows", type=numbers, metavar="0-3,7", help="only these rows (default: the whole round)")
    command.add_argument("--yes", action="store_true", help="do not ask before")


def _open_round(command: argparse.ArgumentParser) -> None:
    _which(command)
    command.add_argument("--round", type=count, metavar="N", help="the open round's number, to be sure")
    command.add_argument("--verbose", action="store_true", help="every line of orchestrator.log on the terminal too")


def add_start(command: argparse.ArgumentParser) -> None:
    _which(command)
    command.add_argument(
        "--controller",
        choices=names.CONTROLLERS,
        required=True,
        help="slurm: a small CPU job that is followed by its like; cron: print the line to install; foreground: here",
    )
    command.add_argument("--max-iterations", type=count, metavar="N", help="rounds in all (default: the study's)")
    command.add_argument("--every", type=minutes, metavar="10m", help="cron: time between ticks (10m)")
    command.add_argument("--profile", type=path, metavar="YAML", help="cluster profile (doc/profiles.md)")
    command.add_argument("--candidates", type=count, metavar="K", help="candidates a round (default: the study's)")
    command.add_argument("--launcher", choices=names.LAUNCHERS, help="how trials are started (default: the study's)")
    command.add_argument("--parallel", type=count, metavar="N", help="trials at a time (default: the study's)")
    command.add_argument(
        "--requeue-on-timeout",
        action=argparse.BooleanOptionalAction,
        help="tasks save a checkpoint and requeue themselves at their time limit (default: the study's)",
    )
    command.add_argument("--poll", type=seconds, metavar="S", help="seconds between looks (default: the study's, 60)")
    command.add_argument("--resume", action="store_true", help="submit again although the study is paused")
    # What a controller job calls itself with.
    command.add_argument("--generation", type=count, help=argparse.SUPPRESS)


def add_stop(command: argparse.ArgumentParser) -> None:
    _which(command)
    command.add_argument("--now", action="store_true", help="cancel the controller's job too, not only ask it to end")


def add_status(command: argparse.ArgumentParser) -> None:
    _which(command)
    command.add_argument(
        "--watch",
        type=seconds,
        nargs="?",
        const=10.0,
        metavar="SECONDS",
        help="show it again and again: in place on a terminal, elsewhere whenever it changed (10)",
    )
    command.add_argument("--json", action="store_true", help="the same as JSON")
    command.add_argument("--round", type=count, metavar="N", help="only this round, with every trial")


def add_reference(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="list every problem of a reference")
    check.add_argument("path", type=path)
    check.add_argument("--trainer", metavar="NAME|YAML", help="hold it against this trainer (default: what it names)")
    diff = actions.add_parser("diff", help="what differs between two references")
    diff.add_argument("old", type=path)
    diff.add_argument("new", type=path)
    history = actions.add_parser("history", help="the archived versions of a study's reference")
    _which(history)
    restore = actions.add_parser("restore", help="make an archived version current; the next round trains it")
    _which(restore)
    restore.add_argument(
        "version", metavar="VERSION", help="round_2, round_2_v2, or just 2; last: as Roundtable wrote it last"
    )


def add_train(command: argparse.ArgumentParser) -> None:
    command.add_argument("--trainer", required=True, metavar="NAME|YAML")
    command.add_argument("--task", required=True, metavar="T")
    command.add_argument("--hp-ref", type=path, metavar="PATH", help="reference (default: the shipped one)")
    command.add_argument("--out", type=path, required=True, metavar="DIR", help="folder for the results")
    command.add_argument("--fold", type=natural, default=0, metavar="F")
    command.add_argument("--fold-count", type=count, default=1, metavar="N", help="folds the data is split into (1)")
    command.add_argument("--seed", type=natural, default=0, metavar="S")
    command.add_argument("--epochs", type=count, metavar="N")
    command.add_argument("--data", type=pair, action="append", default=[], metavar="KEY=VALUE")
    command.add_argument("--profile", type=path, metavar="YAML", help="whose python trains")
    command.add_argument("--gpus", type=natural, metavar="N", help="GPUs the trainer may use (default: 1 if any)")


def add_doctor(command: argparse.ArgumentParser) -> None:
    command.add_argument("--study", metavar="NAME|DIR", help="a study: its profile, launcher, trainer and models")
    command.add_argument("--profile", type=path, metavar="YAML", help="a profile, in place of the study's or alone")
    command.add_argument("--trainer", type=word, metavar="NAME|YAML", help="whose imports are tried, without --study")
    command.add_argument(
        "--launcher",
        choices=names.LAUNCHERS,
        help="default: the study's, else submitit where sbatch exists, else local",
    )
    command.add_argument("--submit", action="store_true", help="run one tiny job: what does a compute node see?")
    command.add_argument("--wait", type=seconds, default=300.0, metavar="S", help="longest wait for that job (300)")
    command.add_argument("--output-dir", type=path, default="runs", metavar="DIR", help="where studies are (runs)")
    command.add_argument("--json", action="store_true", help="the same as JSON")


def add_trainers(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", nargs="?", metavar="NAME|YAML", help="show one trainer's parameters")


def _study(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("study")
    group.add_argument("--task", required=True, metavar="T", help="data set or problem, e.g. digits")
    group.add_argument("--trainer", metavar="NAME|YAML", help="see `roundtable trainers`; needed for a new study")
    group.add_argument("--study", metavar="NAME", help="folder in runs/ (default: the task's short form)")
    group.add_argument("--output-dir", type=path, default="runs", metavar="DIR", help="where studies are (runs)")


def _frozen(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("fixed when the study begins")
    group.add_argument("--hp-ref", type=path, metavar="PATH", help="reference to begin with (copied, never written)")
    group.add_argument("--tune", type=words, metavar="NAMES", help="also tune these documented parameters, or `all`")
    group.add_argument(
        "--warm-start", type=path, action="append", metavar="DIR", help="a study whose best settings are tried first"
    )
    group.add_argument("--folds", type=numbers, metavar="0-4", help="folds every candidate trains")
    group.add_argument("--seeds", type=numbers, metavar="0,1", help="training seeds every candidate trains")
    group.add_argument("--epochs", type=count, metavar="N", help="epochs a trial")
    group.add_argument(
        "--seed", type=natural, metavar="S", help="seed of proposals (and of training, without --seeds)"
    )
    group.add_argument("--data", type=pair, action="append", default=[], metavar="KEY=VALUE", help="e.g. path=X.npz")


def _which(command: argparse.ArgumentParser) -> None:
    command.add_argument("--study", required=True, metavar="NAME|DIR", help="a study's name in runs/, or its folder")
    command.add_argument("--output-dir", type=path, default="runs", metavar="DIR", help="where studies are (runs)")


class _Provider(argparse.Action):
    """--provider NAME, or `--provider scripted FILE`."""

    def __call__(
        self, parser: argparse.ArgumentParser, parsed: argparse.Namespace, given: Any, option: str | None = None
    ) -> None:
        name, *rest = given
        if name not in names.PROVIDERS:
            import difflib

            near = difflib.get_close_matches(name, names.PROVIDERS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise argparse.ArgumentError(self, f"{name!r}: {hint}must be one of {', '.join(names.PROVIDERS)}")
        if name == "scripted" and (len(rest) != 1 or not rest[0].strip()):
            raise argparse.ArgumentError(self, "scripted needs a FILE: --provider scripted FILE (doc/agents.md)")
        if name != "scripted" and rest:
            raise argparse.ArgumentError(self, f"{' '.join(given)}: one name, or `scripted FILE`")
        setattr(parsed, self.dest, given)
