"""Options of single commands beside those that begin and drive a study."""

from __future__ import annotations

from agent import names
from agent.options.kinds import MINUTES, choice
from agent.options.option import declared, option


@declared(commands=("start",))
class Controller:
    """What drives a study while nobody watches."""

    controller: str = option(
        kind=choice(names.CONTROLLERS),
        help="slurm: a small CPU job that submits its own successor; cron: print the line to install; foreground: "
        "this process",
    )
    every_minutes: int = option(
        kind=MINUTES, default=10, flags=("--every",), metavar="10m", unless="10m", help="cron: time between ticks"
    )
