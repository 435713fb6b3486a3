"""The environment that schedulers' programs and tasks are given: the person's own, less what would steer them.

Measured on SLURM 22.05: SBATCH_TIMELIMIT beats `#SBATCH --time`, and a submission made inside a job hands
SLURM_CPU_BIND and SLURM_MEM_PER_CPU on even with --export=NONE (a leaked binding pins every trial to one core).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Set by a surrounding job, session or environment; none of it is meant for what is started here.
SCRUBBED_PREFIXES = (
    "SLURM_",
    "SBATCH_",
    "SRUN_",
    "SALLOC_",
    "SQUEUE_",
    "SACCT_",
    "SCANCEL_",
    "SCONTROL_",
    "SLURMD_",
    "SUBMITIT_",
    "PMI",
    "XDG_",
    "DBUS_",
    "CONDA_",
)
#: The last one, common in container images, makes every trial compile torch anew: 8.1 for 4.0 CPU-s (measured).
SCRUBBED_NAMES = ("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "PYTHONDONTWRITEBYTECODE")

#: Keys of LLM providers: training has no use for them, and SLURM keeps a job's environment on disk. A trainer that
#: does call a provider gets its own key through the profile's set-up lines.
SECRETS = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "DEEPSEEK_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_SEARCH_API_KEY",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "VLLM_API_KEY",
)
#: Keys of single roles: ROUNDTABLE_AUTOTUNER_API_KEY and its like.
_ROLE_KEY = re.compile(r"ROUNDTABLE_[A-Z_]+_API_KEY")

#: Which SLURM is meant: without it, programs talk to another controller than the person's shell does.
KEPT = ("SLURM_CONF",)

#: Which of a SLURM's clusters is meant. Not handed on: a tick from cron, or from another shell, would look for the
#: jobs on another cluster. A profile's `cluster` stands in the study (select.check_cluster).
CLUSTER_VARIABLES = ("SLURM_CLUSTERS", "SBATCH_CLUSTERS")


def scrub(environment: Mapping[str, str]) -> dict[str, str]:
    """What tasks and submissions inherit."""
    return {
        name: value
        for name, value in environment.items()
        if name in KEPT
        or not (
            name in SCRUBBED_NAMES
            or name in SECRETS
            or _ROLE_KEY.fullmatch(name)
            or name.startswith(SCRUBBED_PREFIXES)
        )
    }


def for_queries(environment: Mapping[str, str]) -> dict[str, str]:
    """What squeue, sacct, sinfo, scancel and scontrol get: their text is parsed, so it must not be localised.

    SLURM's programs print and read times by the clock of TZ and without an offset; in UTC no hour stands twice.
    sbatch gets neither variable: --export=ALL would carry them into the tasks, a `begin` in the profile means the
    person's own clock, and its answers hold no time that is parsed.
    """
    return scrub(environment) | {"LC_ALL": "C", "TZ": "UTC"}
