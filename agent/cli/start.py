"""`roundtable start`: have a study driven unattended."""

from __future__ import annotations

import argparse

from agent.api.control import StartOptions, drive_job, start
from agent.cli.common import say_at_once, say_stamped, study_folder
from agent.cli.options import record_of
from agent.errors import UsageError


def run(parsed: argparse.Namespace) -> int:
    root = study_folder(parsed)
    if parsed.generation is not None:
        ending = drive_job(root, parsed.generation, say=say_stamped)
    else:
        if parsed.every_minutes is not None and parsed.controller != "cron":
            raise UsageError(f"--every belongs to --controller cron; {parsed.controller} looks every --poll seconds")
        say = say_stamped if parsed.controller == "foreground" else say_at_once
        found = start(root, record_of(StartOptions, parsed), say=say)
        if found is None:
            return 0
        ending = found
    if ending.error is not None:
        raise ending.error
    return 0
