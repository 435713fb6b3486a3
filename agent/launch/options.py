"""sbatch's options: which ones a person may add, which ones Roundtable manages and why, and how values are written.

Names are sbatch's long options, without dashes (sbatch(1), versions 20.11 to 24.05).
"""

from __future__ import annotations

from collections.abc import Mapping

#: Options that a profile's `extra` may set.
ALLOWED_EXTRA: frozenset[str] = frozenset(
    (
        "acctg-freq",
        "batch",
        "bb",
        "begin",
        "comment",
        "contiguous",
        "core-spec",
        "cores-per-socket",
        "cpu-freq",
        "delay-boot",
        "distribution",
        "exclusive",
        "extra",
        "extra-node-info",
        "gpu-bind",
        "gpu-freq",
        "gres-flags",
        "hint",
        "licenses",
        "mail-type",
        "mail-user",
        "mcs-label",
        "mem-bind",
        "mem-per-cpu",
        "mem-per-gpu",
        "mincpus",
        "network",
        "nice",
        "no-kill",
        "oversubscribe",
        "power",
        "prefer",
        "priority",
        "profile",
        "propagate",
        "reboot",
        "reservation",
        "resv-ports",
        "segment",
        "sockets-per-node",
        "spread-job",
        "switches",
        "thread-spec",
        "threads-per-core",
        "time-min",
        "tmp",
        "tres-bind",
        "use-min-nodes",
        "wckey",
    )
)

#: Options for each GPU of a job, which a job without one may not have or has no use for.
PER_GPU = ("gpu-bind", "gpu-freq", "mem-per-gpu", "tres-bind")

#: A job has at most one of `mem` and these.
MEMORY = ("mem-per-cpu", "mem-per-gpu")

_ONE_PROCESS = "every row is one process on one node"
_ENVIRONMENT = "tasks get the environment of the submitting process, and `env` adds to it"
_TERMINAL = "Roundtable reads sbatch's answer itself"
_BODY = "the job's body is the rendered script"

#: Options that Roundtable sets itself, or whose use would break what it promises, with the reason.
MANAGED: Mapping[str, str] = {
    "array": "rows come from the manifest; limit tasks at a time with `max_parallel`",
    "chdir": "tasks go to their round's folder themselves",
    "cluster-constraint": "a study keeps to one cluster, where its jobs are found again: set `cluster`",
    "container": "wrap the environment in `python` instead",
    "container-id": "wrap the environment in `python` instead",
    "deadline": "slurm cancels on its own estimate of the start, which would look like a lost row",
    "dependency": "the evaluation is chained behind the training",
    "error": "a task's output goes to one log in the round's folder",
    "export": _ENVIRONMENT,
    "export-file": _ENVIRONMENT,
    "get-user-env": _ENVIRONMENT,
    "gid": "jobs belong to the person who submits them",
    "help": _TERMINAL,
    "hold": "a held round looks like a round in the queue; use `scontrol hold` on the job instead",
    "ignore-pbs": "rendered scripts have no #PBS lines",
    "input": "tasks read no input",
    "job-name": "the unique job name is how a submission is found again after a crash",
    "kill-on-invalid-dep": "an evaluation whose dependency is broken must be seen, not removed",
    "nodefile": "use `nodelist`",
    "nodes": _ONE_PROCESS,
    "no-requeue": "retries have one owner, Roundtable; see `requeue_on_timeout`",
    "ntasks": _ONE_PROCESS,
    "ntasks-per-core": _ONE_PROCESS,
    "ntasks-per-gpu": _ONE_PROCESS,
    "ntasks-per-node": _ONE_PROCESS,
    "ntasks-per-socket": _ONE_PROCESS,
    "open-mode": "logs are appended to, so that a restart does not erase them",
    "output": "a task's output goes to one log in the round's folder",
    "overcommit": _ONE_PROCESS,
    "parsable": _TERMINAL,
    "quiet": _TERMINAL,
    "requeue": "retries have one owner, Roundtable; see `requeue_on_timeout`",
    "signal": "set its seconds with `signal_seconds`",
    "test-only": _TERMINAL,
    "uid": "jobs belong to the person who submits them",
    "usage": _TERMINAL,
    "verbose": _TERMINAL,
    "version": _TERMINAL,
    "wait": "Roundtable watches the queue itself",
    "wait-all-nodes": _ONE_PROCESS,
    "wrap": _BODY,
}

#: Options that have a key of their own in a profile.
PROFILE_KEY: Mapping[str, str] = {
    "account": "account",
    "clusters": "cluster",
    "constraint": "constraint",
    "cpus-per-gpu": "cpus",
    "cpus-per-task": "cpus",
    "exclude": "exclude",
    "gpus": "gpus",
    "gpus-per-node": "gpus",
    "gpus-per-socket": "gpus",
    "gpus-per-task": "gpus",
    "gres": "gres",
    "mem": "mem",
    "nodelist": "nodelist",
    "partition": "partition",
    "qos": "qos",
    "time": "time",
    "tres-per-task": "gpus, gres or cpus",
}

#: sbatch's one-letter options, so that `extra: {J: x}` is answered by what J is.
SHORT: Mapping[str, str] = {
    "A": "account",
    "B": "extra-node-info",
    "C": "constraint",
    "D": "chdir",
    "F": "nodefile",
    "G": "gpus",
    "H": "hold",
    "J": "job-name",
    "L": "licenses",
    "M": "clusters",
    "N": "nodes",
    "O": "overcommit",
    "Q": "quiet",
    "S": "core-spec",
    "V": "version",
    "W": "wait",
    "a": "array",
    "b": "begin",
    "c": "cpus-per-task",
    "d": "dependency",
    "e": "error",
    "h": "help",
    "i": "input",
    "k": "no-kill",
    "m": "distribution",
    "n": "ntasks",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "s": "oversubscribe",
    "t": "time",
    "v": "verbose",
    "w": "nodelist",
    "x": "exclude",
}

#: Managed options that a rendered header holds.
_RENDERED = (
    "array",
    "export",
    "job-name",
    "nodes",
    "no-requeue",
    "ntasks",
    "open-mode",
    "output",
    "requeue",
    "signal",
)

#: Every option that a rendered header may hold.
ALLOWED_HEADER: frozenset[str] = ALLOWED_EXTRA | frozenset(_RENDERED) | frozenset(PROFILE_KEY)

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-[]()*&|!")


def quote_value(value: str) -> str:
    """`value` as it stands after `--option=` in a #SBATCH line.

    sbatch splits such a line itself, without a shell: quotes of both kinds group, a backslash escapes in and
    outside them, an unquoted # begins a comment, and nothing is expanded (measured on 22.05 with spaces, quotes,
    $(), backticks, #, Unicode and tabs). A shell's single quoting would lose backslashes there.
    """
    if value and _BARE.issuperset(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def split_directive(text: str) -> list[str]:
    """The arguments that sbatch reads from what follows `#SBATCH`. Raises ValueError on an unclosed quote."""
    arguments: list[str] = []
    current: list[str] | None = None
    quote = ""
    letters = iter(text)
    for letter in letters:
        if not quote and letter.isspace():
            if current is not None:
                arguments.append("".join(current))
            current = None
            continue
        if not quote and letter == "#":
            break
        current = [] if current is None else current
        if letter == "\\":
            current.append(next(letters, ""))
        elif quote == letter:
            quote = ""
        elif not quote and letter in "\"'":
            quote = letter
        else:
            current.append(letter)
    if quote:
        raise ValueError(f"the {quote} is not closed")
    return arguments if current is None else [*arguments, "".join(current)]


def log_pattern(folder: str) -> str:
    """sbatch's --output for logs in `folder`: one file per task, with every % of the folder itself taken literally.

    Raises ValueError for a backslash: slurm then drops it and expands no pattern at all (measured on 22.05: every
    task of an array wrote to one file, literally named %x_%A_%a.log).
    """
    if "\\" in folder:
        raise ValueError("holds a backslash, and slurm expands no %A_%a in such a path: choose another folder")
    return folder.replace("%", "%%") + "/%x_%A_%a.log"
