"""A script that fails, made as short as it goes, and printed as a test.

Greedy: faults are left out in halves, then one by one, as long as the script still fails; then the setting's extras
are taken back to what is plain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from tests.simulation.script import Script, Setting
from tests.simulation.world import Ended, run

#: Runs that shrinking may cost.
MOST_RUNS = 400

Fails = Callable[[Script], bool]


def shrink(script: Script, fails: Fails, *, most: int = MOST_RUNS) -> Script:
    """The shortest script found that still fails. fails: runs one."""
    left = [most]

    def tried(shorter: Script) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        return fails(shorter)

    size = max(1, len(script.faults) // 2)
    while True:
        start, before = 0, len(script.faults)
        while start < len(script.faults):
            kept = (*script.faults[:start], *script.faults[start + size :])
            if tried(shorter := replace(script, faults=kept)):
                script = shorter
            else:
                start += size
        if size > 1:
            size = max(1, size // 2)
        elif len(script.faults) == before:
            break
    return _plain(script, tried)


def _plain(script: Script, tried: Fails) -> Script:
    """The same in a plainer setting: fewer rounds, and each option as it is where nobody chose."""
    changes = [{"rounds": rounds} for rounds in range(1, script.setting.rounds)]
    changes += [{one.name: one.default} for one in fields(Setting) if one.name != "rounds"]
    for change in changes:
        if change.get("rounds", 0) > script.setting.rounds:
            continue
        setting = replace(script.setting, **change)
        if setting != script.setting and tried(shorter := replace(script, setting=setting)):
            script = shorter
    return script


def fails_like(ended: Ended, home: Path) -> Fails:
    """Whether a script breaks the same kind of invariant: the words before its first number or colon."""
    kind = kind_of(ended)
    return lambda script: kind_of(run(script, home)) == kind


def kind_of(ended: Ended) -> str:
    """The invariant that failed first, without names and numbers; empty where none did."""
    if not ended.wrong:
        return ""
    words = ended.wrong[0].splitlines()[-1 if ended.wrong[0].startswith("an exception") else 0]
    return " ".join(word for word in words.split() if word.isalpha())[:60]


def as_test(script: Script, ended: Ended) -> str:
    """The script as a test, to be pasted into tests/simulation/test_found.py."""
    plain = Setting()
    setting = [
        f"{one.name}={getattr(script.setting, one.name)!r}"
        for one in fields(Setting)
        if getattr(script.setting, one.name) != getattr(plain, one.name)
    ]
    lines = [f"def test_seed_{script.seed}(home: Path) -> None:"]
    lines += [f"    # {line}" for line in (ended.wrong[0] if ended.wrong else "").splitlines()[:1]]
    lines += ["    script = Script(", f"        seed={script.seed},"]
    lines += [f"        setting=Setting({', '.join(setting)}),"] if setting else []
    lines += ["        faults=(", *(f"            {fault!r}," for fault in script.faults), "        ),", "    )"]
    lines += ["    assert run(script, home).wrong == []"]
    return "\n".join(lines)
