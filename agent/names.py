"""What can be named in an option, a study's file or a call, each list said here and nowhere else.

Imports nothing: `--help` lists these names at no cost. What stands behind a name is elsewhere (launch.select,
llm.presets, propose), and tests hold those to these lists.
"""

LAUNCHERS = ("submitit", "sbatch", "local")

CONTROLLERS = ("slurm", "cron", "foreground")

#: Who proposes from round 2 on.
PROPOSERS = ("bayes", "gp", "llm", "panel", "hybrid", "planner")

#: When the best candidate is trained again at fresh seeds.
CONFIRM = ("final", "round", "never")

#: Who answers for the language models. "none": nobody; "scripted": a file.
PROVIDERS = (
    "none",
    "anthropic",
    "openai",
    "deepseek",
    "openrouter",
    "gemini",
    "ollama",
    "vllm",
    "custom",
    "scripted",
)

#: Whose web search the researcher uses.
SEARCH_PROVIDERS = ("none", "anthropic", "openai", "gemini", "google")
