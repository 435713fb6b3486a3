"""The environment that schedulers' programs and tasks are given: the person's own, less what would steer them.

Measured on SLURM 22.05: SBATCH_TIMELIMIT beats `#SBATCH --time`, and a submission made inside a job hands
SLURM_CPU_BIND and SLURM_MEM_PER_CPU on even with --export=NONE (a leaked binding pins every trial to one core).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

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

#: Whose keys are no business of a training. Not HF, WANDB and their like: trainings fetch data and log with those.
PROVIDERS = (
    *("ANTHROPIC", "AZURE_OPENAI", "CEREBRAS", "COHERE", "DEEPSEEK", "FIREWORKS", "GEMINI", "GOOGLE", "GROQ"),
    *("MISTRAL", "NVIDIA", "OLLAMA", "OPENAI", "OPENROUTER", "PERPLEXITY", "ROUNDTABLE", "TOGETHER", "VLLM", "XAI"),
)
#: Keys of LLM providers and what traces are sent with, as a regular expression that bash reads as Python does.
#: Training has no use for them, and SLURM keeps a job's environment on disk. A trainer that does call a provider gets
#: its own key through the profile's set-up lines. Names may go on (GEMINI_API_KEY_GEN_A).
SECRETS = rf"(({'|'.join(PROVIDERS)})_(.*_)?(API)?(KEY|TOKEN|SECRET)(_.*)?|.*_CUSTOM_HEADERS|OTEL_(.*_)?HEADERS)"
_SECRET = re.compile(SECRETS)

#: Which SLURM is meant: without it, programs talk to another controller than the person's shell does.
KEPT = ("SLURM_CONF",)

#: Which of a SLURM's clusters is meant. Not handed on: a tick from cron, or from another shell, would look for the
#: jobs on another cluster. A profile's `cluster` stands in the study (select.check_cluster).
CLUSTER_VARIABLES = ("SLURM_CLUSTERS", "SBATCH_CLUSTERS")


def is_secret(name: str) -> bool:
    """Whether a variable holds a key of a language model, or what goes with it."""
    return _SECRET.fullmatch(name) is not None


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """For what is started right here, inside of a job or not: all but keys of language models."""
    return {name: value for name, value in environment.items() if not is_secret(name)}


def secret_pattern(named: Iterable[str] = ()) -> str:
    """What a script's names of variables are held against before it unsets them. named: what a person named for keys,
    names of variables every one (agent.llm.keys.VARIABLE)."""
    return f"^({'|'.join([SECRETS, *sorted(map(re.escape, named))])})$"


def scrub(environment: Mapping[str, str]) -> dict[str, str]:
    """What tasks and submissions inherit."""
    return {
        name: value
        for name, value in environment.items()
        if name in KEPT or not (name in SCRUBBED_NAMES or is_secret(name) or name.startswith(SCRUBBED_PREFIXES))
    }


def for_queries(environment: Mapping[str, str]) -> dict[str, str]:
    """What squeue, sacct, sinfo, scancel and scontrol get: their text is parsed, so it must not be localised.

    SLURM's programs print and read times by the clock of TZ and without an offset; in UTC no hour stands twice.
    sbatch gets neither variable: --export=ALL would carry them into the tasks, a `begin` in the profile means the
    person's own clock, and its answers hold no time that is parsed.
    """
    return scrub(environment) | {"LC_ALL": "C", "TZ": "UTC"}
