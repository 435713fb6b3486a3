"""What the agents cost beside the models' own time: CPU a round, prompt sizes, and the SDKs' imports.

    python benchmarks/agents.py [--trials 10 100 1000] [--repeat 7] [--no-imports]

A closed study of rounds of ten candidates (some of them failed, with a message); then a hybrid round of ten, three
by the autotuner and seven by TPE, with analyst and checker, up to its decision. The model answers at once and in this
process, so what is shown is what Roundtable adds to a call. Each figure is the median over repeats of the same round
on copies of the study; modules are loaded by then. Steps carry what they read and write; the parts (digest,
anonymiser, TPE, reading the answers) are counted inside the steps and shown apart, `rest` is the remainder.
Prompt sizes are of the round's first question to each role: characters, and the upper estimate that the caps use.
An SDK is imported by the first call, so the last rows make one, to an address where nobody listens.
Targets: no digest above its cap; no SDK loaded by `status` or a first round, and by a call the chosen one alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from child import ROOT, bytecode, machine, roundtable, run_child

PER_ROUND = 10
STEPS = ("analyse", "propose", "check", "apply")
PARTS = ("digest", "anonymiser", "TPE", "answers")
ROLES = ("analyst", "autotuner", "checker")
SDKS = ("anthropic", "openai")
TRAINER = ROOT / "benchmarks" / "trainer" / "trainer.yaml"
#: A client's first call, to a port where nobody listens: import, client, request. Argument: provider.
FIRST_CALL = """
import sys
from agent.errors import LLMUnavailable
from agent.llm.base import Message, Request
from agent.llm.client import Client
from agent.llm.presets import preset
from agent.llm.retry import RetryPolicy
from agent.llm.wire import Endpoint
found = preset(sys.argv[1])
endpoint = Endpoint(provider=found.name, model=found.model, style=found.style, base_url="http://127.0.0.1:9",
                    key="sk-none", timeout_s=5.0, formats=found.formats)
request = Request(role="autotuner", system="-", messages=(Message(role="user", text="-"),))
try:
    Client(endpoint, policy=RetryPolicy(tries=1)).complete(request)
except LLMUnavailable:
    print(" ".join({name.partition(".")[0] for name in sys.modules}))
"""
#: A command, and then what it has imported.
LOADED = """
import sys
from agent.__main__ import main
code = main(sys.argv[1:])
print("\\n" + " ".join({name.partition(".")[0] for name in sys.modules}))
sys.exit(code)
"""
#: A render of round 1 by hand: nothing is trained, and no model is asked in a first round.
FIRST_ROUND = ["tune", "--trainer", str(TRAINER), "--max-rounds", "1", "--quiet"]


class Meter:
    """CPU seconds by part, each without the parts inside it."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._inner: list[float] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        begun = time.process_time()
        self._inner.append(0.0)
        try:
            yield
        finally:
            took = time.process_time() - begun
            self.spent[name] += took - self._inner.pop()
            if self._inner:
                self._inner[-1] += took

    def around(self, owner: Any, attribute: str, part: str) -> None:
        """Count every call of a function or method under `part`."""
        inner: Callable[..., Any] = getattr(owner, attribute)

        def counted(*given: Any, **named: Any) -> Any:
            with self.part(part):
                return inner(*given, **named)

        setattr(owner, attribute, counted)


class Instant:
    """A model that answers at once: an `LLM` as the orchestrator takes them. Its own time counts as `model`."""

    provider, model = "ollama", "instant"

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._rng = random.Random(0)
        self.sizes: dict[str, tuple[int, int]] = {}
        """Role -> (characters, estimated tokens) of its first question."""

    def complete(self, request: Any) -> Any:
        from agent.llm.answer import parse_answer
        from agent.llm.base import Reply, Usage, rough_tokens

        with self._meter.part("model"):
            texts = [request.system, *(message.text for message in request.messages)]
            size = sum(map(len, texts)), rough_tokens(*texts, json.dumps(request.schema))
            self.sizes.setdefault(request.role, size)
            text = json.dumps(self._answer(request))
        with self._meter.part("answers"):
            data = parse_answer(text, request.schema)
        usage = Usage(input_tokens=size[1], output_tokens=len(text) // 4)
        return Reply(text=text, data=data, usage=usage, provider=self.provider, model=self.model)

    def _answer(self, request: Any) -> Any:
        if request.role == "analyst":
            names = request.schema["properties"]["trials"]["items"]["properties"]["trial"]["enum"]
            trials = [{"trial": name, "reading": "flat at the end", "keywords": ["plateau"]} for name in names]
            return {"overall": "the curves flatten early", "trials": trials, "keywords": ["learning rate schedule"]}
        if request.role == "checker":
            names = request.schema["properties"]["verdicts"]["items"]["properties"]["candidate"]["enum"]
            verdicts = [{"candidate": name, "verdict": "ok", "finding": "", "parameter": "none"} for name in names]
            return {"verdicts": verdicts}
        candidates = [
            {
                "changes": [
                    {"parameter": "x", "value": round(self._rng.random(), 6), "reason": "towards the best so far"},
                    {"parameter": "learning_rate", "value": round(10 ** self._rng.uniform(-4, -1), 7), "reason": "-"},
                ],
                "expected_effect": "a higher score",
                "confidence": 0.5,
            }
            for _ in range(3)
        ]
        return {"diagnosis": "x is too high", "candidates": candidates}


def measured(meter: Meter) -> dict[str, int]:
    """Count the parts; returns where the longest digest will stand."""
    from agent.anonymise import Aliases
    from agent.orchestrator.deciding import agents, propose
    from agent.propose.optuna_tpe import TPEProposer
    from agent.roles import autotuner, checker

    longest = {"digest": 0}
    write = autotuner.digest

    def digest(*given: Any, **named: Any) -> str:
        with meter.part("digest"):
            text = write(*given, **named)
        longest["digest"] = max(longest["digest"], len(text))
        return text

    for module in (autotuner, checker, propose):
        module.digest = digest  # type: ignore[attr-defined]
    for name in ("hide", "reveal", "hide_json", "reveal_json", "of"):
        meter.around(Aliases, name, "anonymiser")
    meter.around(agents, "gather", "anonymiser")
    meter.around(TPEProposer, "propose", "TPE")
    return longest


def rounds(root: Path, repeat: int) -> dict[str, Any]:
    """Median CPU seconds of one more round up to its decision: by step and by part; and the prompts' sizes."""
    sys.path.insert(0, str(ROOT))
    from agent.api import models

    meter = Meter()
    longest = measured(meter)
    found: list[dict[str, float]] = []
    for number in range(repeat + 1):
        llm = Instant(meter)
        models.make_client = lambda *rest, llm=llm: llm  # type: ignore[assignment]
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(root, copy := Path(folder) / root.name)
            meter.spent.clear()
            taken = one_round(copy, meter)
        if number:  # the first one carries the imports
            found.append(taken | {part: meter.spent[part] for part in PARTS})
    middle = {name: statistics.median(entry[name] for entry in found) for name in found[0]}
    middle["round"] = statistics.median(sum(entry[step] for step in STEPS) for entry in found)
    middle["rest"] = statistics.median(
        sum(entry[step] for step in STEPS) - sum(entry[part] for part in PARTS) for entry in found
    )
    return {"seconds": middle, "sizes": llm.sizes, "digest": longest["digest"]}


def one_round(root: Path, meter: Meter) -> dict[str, float]:
    """CPU seconds of each step up to the decision, without the model's own."""
    from agent.api import TuneOptions
    from agent.api.wiring import settings_for, tools_for
    from agent.orchestrator import tick
    from agent.store.store import Store

    seconds: dict[str, float] = {}
    clock = {"last": 0.0}

    def step(line: str) -> None:
        if line.startswith("step "):
            now = time.process_time() - meter.spent["model"]
            seconds[line.split()[1]] = now - clock["last"]
            clock["last"] = now

    store = Store.open(root)
    options = TuneOptions(
        task=root.name,
        output_dir=root.parent,
        candidates=PER_ROUND,
        provider="ollama",
        model="instant",
        proposer="hybrid",
    )
    settings = settings_for(store, options, "local")
    tools = tools_for(store, settings, str, step)  # type: ignore[arg-type]
    store.put_settings(settings)
    clock["last"] = time.process_time()
    if tick(store, tools).state != "manual":
        raise SystemExit("a round was to be rendered for a person")
    last = max(root.glob("round_*"), key=lambda path: int(path.name.split("_")[1]))
    made = json.loads(next(last.glob("tuning_decision_*")).read_text(encoding="utf-8"))
    sources = Counter(candidate["source"] for candidate in made["candidates"])
    if sources["llm"] != 3 or made["notes"]:
        raise SystemExit(f"three candidates were to come from the model: {dict(sources)}, {made['notes']}")
    return {name: seconds[name] for name in STEPS}


def fail_some(root: Path) -> None:
    """Let one candidate of each round have failed by its settings, with a message that tells why."""
    for path in root.glob("round_*/round.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        lost = record["candidates"][PER_ROUND - 3]
        lost |= {"outcome": "bad_config", "value": None, "std": None, "n": 0, "metrics": {}}
        lost["message"] = "RuntimeError: loss became NaN after 37 steps; " * 6
        record["ranking"] = [name for name in record["ranking"] if name != lost["name"]]
        path.write_text(json.dumps(record), encoding="utf-8")


def cpu_table(trials: list[int], repeat: int) -> bool:
    """Print both tables; whether a digest was longer than its cap."""
    results = {}
    with tempfile.TemporaryDirectory() as folder, bytecode() as environment:
        for count in trials:
            root = Path(folder) / f"long{count}"
            make = [sys.executable, str(ROOT / "benchmarks" / "studies.py"), str(root)]
            subprocess.run([*make, str(count // PER_ROUND), str(PER_ROUND), "1"], env=environment, check=True)
            fail_some(root)
            again = [sys.executable, __file__, "--one", str(root), "--repeat", str(repeat)]
            done = subprocess.run(again, env=environment, check=True, capture_output=True, text=True)
            results[count] = json.loads(done.stdout)
    columns = ("round", *STEPS, *PARTS, "rest")
    print("CPU ms of a round up to its decision, the model's own time left out; then its parts")
    print(f"{'trials':>7}" + "".join(f" {name:>10}" for name in columns))
    for count, found in results.items():
        print(f"{count:7d}" + "".join(f" {1e3 * found['seconds'][name]:10.1f}" for name in columns))
    sys.path.insert(0, str(ROOT))
    from agent.roles.digest import CAP

    print(f"\nPrompts: characters, and tokens at most as the caps reckon them (the digest's cap: {CAP} characters)")
    print(f"{'trials':>7} {'digest':>8}" + "".join(f" {role:>9} {'tokens':>7}" for role in ROLES))
    for count, found in results.items():
        sizes = "".join(f" {found['sizes'][role][0]:9d} {found['sizes'][role][1]:7d}" for role in ROLES)
        print(f"{count:7d} {found['digest']:8d}{sizes}")
    return any(found["digest"] > CAP for found in results.values())


def import_table(repeat: int) -> list[str]:
    """Print what imports, commands and first calls cost beside bare Python; those that load an SDK in vain."""
    python, keys = sys.executable, {"ANTHROPIC_API_KEY": "sk-none", "OPENAI_API_KEY": "sk-none"}
    wrong = []
    print(f"\n{'CPU ms, median of pairs':<34} {'ms':>7} {'bare':>6} {'ratio':>7}  of SDKs and Optuna, loaded")
    with tempfile.TemporaryDirectory() as folder, bytecode() as environment:
        environment |= keys
        number = iter(range(10_000))

        def first_round(provider: str) -> Callable[[], list[str]]:
            return lambda: [
                *(*FIRST_ROUND, "--task", f"t{next(number)}", "--output-dir", folder, "--provider", provider)
            ]

        subprocess.run(
            [*roundtable(), *first_round("none")()], env=environment, check=True, stdout=subprocess.DEVNULL
        )
        commands = {
            "roundtable status": lambda: ["status", "--study", f"{folder}/t0"],
            **{f"tune --provider {name}, round 1": first_round(name) for name in ("none", "openai", "anthropic")},
        }
        for name in ("optuna", "openai", "anthropic"):
            _line(f"import {name}", lambda name=name: [python, "-c", f"import {name}"], environment, repeat, "")
        for name, arguments in commands.items():
            loaded = modules([python, "-c", LOADED, *arguments()], environment)
            wrong += [name] if loaded & set(SDKS) else []
            _line(name, lambda given=arguments: [*roundtable(), *given()], environment, repeat, listed(loaded))
        for name in ("openai", "anthropic"):
            argv = [python, "-c", FIRST_CALL, name]
            loaded = modules(argv, environment)
            wrong += [f"a call to {name}"] if loaded & set(SDKS) != {name} else []
            _line(f"first call to {name}", lambda argv=argv: argv, environment, repeat, listed(loaded))
    return wrong


def _line(name: str, argv: Callable[[], list[str]], environment: dict[str, str], repeat: int, loaded: str) -> None:
    """Measure pairs with bare Python and print their medians."""
    run_child(argv(), environment=environment)  # writes the bytecode
    pairs = []
    for _ in range(repeat):
        first = run_child([sys.executable, "-c", "pass"], environment=environment).cpu
        pairs.append((first, run_child(argv(), environment=environment).cpu))
    base, ms = (1e3 * statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    ratio = statistics.median(cpu / first for first, cpu in pairs)
    print(f"{name:<34} {ms:7.0f} {base:6.1f} {ratio:6.1f}x  {loaded}", flush=True)


def modules(argv: list[str], environment: dict[str, str]) -> set[str]:
    """Top-level names of what a program says, in its last line, that it has imported."""
    done = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True, cwd=ROOT)
    return set(done.stdout.splitlines()[-1].split())


def listed(loaded: set[str]) -> str:
    return ", ".join(sorted(loaded & {*SDKS, "optuna", "opentelemetry"})) or "none"


def main() -> int:
    parser = argparse.ArgumentParser(description="CPU time, prompt sizes and imports of the agents.")
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--repeat", type=int, default=7, help="repeats a figure, the median is shown (default 7)")
    parser.add_argument("--no-imports", action="store_true", help="rounds and prompts alone")
    parser.add_argument("--one", type=Path, metavar="STUDY", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        os.chdir(options.one)  # no .env of the caller's folder
        print(json.dumps(rounds(options.one, options.repeat)))
        return 0
    print(f"{machine()}; median of {options.repeat}")
    too_long = cpu_table(options.trials, options.repeat)
    wrong = [] if options.no_imports else import_table(options.repeat)
    if too_long:
        print("target missed: a digest is longer than its cap")
    if wrong:
        print(f"target missed: an SDK is loaded that is not needed by {', '.join(wrong)}")
    if not (too_long or wrong):
        print("targets met")
    return 1 if too_long or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
