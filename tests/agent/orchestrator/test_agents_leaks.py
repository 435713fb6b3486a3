"""What must not reach a model: test values, class labels, names of data, people and machines."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pytest

from agent.anonymise.tokens import fold
from agent.reference.model import show
from agent.resources import templates
from tests.agent.orchestrator import test_agents
from tests.agent.orchestrator.conftest import Lab
from tests.agent.orchestrator.test_agents import asked, decision, read
from tests.llm_server.asked import Asked
from tests.llm_server.behaviours import Behaviour, Say
from tests.llm_server.scripted_study import StudyModel, kind_of
from tests.llm_server.server import LLMServer

impatient, online = test_agents.impatient, test_agents.online

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
TEST_WORDS = ("test_summary", "test_accuracy", "test_loss", "test accuracy", "Test values", "on the test set")


# -- test values ---------------------------------------------------------------------------------------------------


def numbers(value: Any) -> Iterator[float]:
    """Every number in a JSON value, however deep."""
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from numbers(entry)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def written(values: Sequence[float]) -> set[str]:
    """The values in all the ways in which a prompt writes numbers."""
    return {text for v in values for text in (repr(v), str(v), show(v), *(f"{v:.{n}g}" for n in (3, 4, 5, 6)))}


def values_on_test(folder: Path) -> tuple[set[str], dict[str, float]]:
    """A round's test values as a prompt would write them, less what its validation has too; and by candidate."""
    of_test = set(folder.rglob("test_summary.json"))
    parts = ("metrics", "per_class", "per_fold")
    secret = [value for path in of_test for part in parts for value in numbers(read(path).get(part))]
    epochs = [float(word) for path in folder.rglob("metrics_epoch.csv") for word in NUMBER.findall(path.read_text())]
    others = [
        value
        for path in {*folder.rglob("*.json")} - of_test
        if "test" not in path.name
        for value in numbers(read(path))
    ]
    # Two digits are too common to tell anything.
    words = {word for word in written(secret) - written([*others, *epochs]) if len(word.strip("-0.")) > 2}
    means = {path.parent.name: read(path)["metrics"]["test_accuracy"]["value"] for path in of_test}
    return words, {name: value for name, value in means.items() if name != folder.name}


@pytest.mark.train
def test_test_data_reach_no_agent_unless_shown(online: Lab, llm_server: LLMServer) -> None:
    config = online.root / "llm.yaml"
    config.write_text(
        f"search_provider: anthropic\nbase_url: {llm_server.base_url('anthropic')}\nprovider: anthropic"
    )
    llm_server.model = StudyModel(seed=8)
    common: dict[str, Any] = {
        "task": "digits",
        "trainer": "resnet9",
        "data": {"limit": 200},
        "epochs": 1,
        "parallel": 2,
        "use_test": True,
        "candidates": 2,
        "llm_config": config,
    }
    online.tune(max_rounds=1, **(common | {"study": "first"}))
    secret, means = values_on_test(next((online.root / "first").glob("round_1_*")))
    assert len(means) == 2 and len(secret) > 20, "nothing to look for"

    def second(study: str, **more: Any) -> Path:
        """Round 2 on a copy: the agents are asked, nothing is trained."""
        shutil.copytree(online.root / "first", online.root / study)
        online.tune(**(common | {"study": study, "auto_train": False, "launcher": None, "max_rounds": 1} | more))
        return next((online.root / study).glob("round_2_*"))

    blind = [second("single", proposer="llm"), second("several", proposer="panel")]
    roles = {record["role"] for folder in blind for record in test_agents.calls(folder)}
    assert roles == {"analyst", "researcher", "autotuner", "checker", "consultant_a", "consultant_b", "supervisor"}
    for request in llm_server.requests:
        sent = json.dumps(request.body)
        assert not secret & set(NUMBER.findall(sent))
        assert not [word for word in TEST_WORDS if word in sent]
    assert [decision(folder)["agents_saw_test"] for folder in blind] == [False, False]

    before = len(llm_server.requests)
    seeing = second("seeing", proposer="llm", agents_see_test=True)
    digests = [request.text for request in llm_server.requests[before:] if "# Goal" in request.text]
    assert len(digests) >= 2, "the autotuner's and the checker's"
    for text in digests:
        assert secret & set(NUMBER.findall(text)), "what is looked for would be found"
        told = text.partition("# Test values")[2].partition("END DATA")[0]
        for candidate, value in means.items():
            assert f"- round 1 {candidate}: {value:.5g}" in told
    assert decision(seeing)["agents_saw_test"] is True


# -- names ---------------------------------------------------------------------------------------------------------

TRAINER = """
name: {name}
description: Scores a parabola and ten classes of which some are weak.
command: ["sh", "train.sh", "{{out}}", "{{x}}", "{{seed}}", "{{candidate}}"]
parameters:
  x: {{type: float, low: 0.0, high: 1.0, default: 0.5, description: Where the parabola of {name} is read}}
objective: {{metric: score, direction: maximize}}
metrics_epoch: {{file: log.csv, columns: {{epoch: epoch, score: score}}}}
pass_values: arguments
summary: summary.json
seeds: [0]
bad_config: {{exit_codes: [3]}}
"""
SCRIPT = """
if [ "$4" = c01 ]; then
    echo {message} >&2
    exit 3
fi
printf 'epoch,score\\n1,0.1\\n2,0.2\\n3,0.3\\n4,0.4\\n' >"$1/log.csv"
awk -v x="$2" 'BEGIN {{ printf "{{\\"score\\": %.9f, \\"per_class\\": %s}}\\n", 1 - (x - 0.3) ^ 2, ARGV[1] }}' \\
    '{classes}' >"$1/summary.json"
"""
WEAK = ("3", "7", "goal", "llm")
CLASSES = (*WEAK, *"012456", "c00", "END DATA", "score", "tumour")
NAMES = ("settings.v2-base", "budget", "candidates", "ward-7.scans", "alice.smith", "gpu-node17", "rules-net_v2")


@pytest.fixture
def hostile(online: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A study in which everything has a name that is also a word of prompts or a number, or tells who and where."""
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, "alice.smith")
    home = online.root / "home" / "alice.smith"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-node17.ward.example")
    classes = {name: {"dice": 0.2 if name in WEAK else 0.9} for name in CLASSES}
    said = f"{home}/ward-7.scans.npz of candidates\nrules-net_v2 lost tumour and goal; ask alice.smith@gpu-node17"
    (online.root / "train.sh").write_text(SCRIPT.format(message=f"'{said}'", classes=json.dumps(classes)))
    (online.root / "hostile.yaml").write_text(TRAINER.format(name="rules-net_v2"))
    return online


def hostile_options(lab: Lab, **more: Any) -> dict[str, Any]:
    return {
        "task": "settings.v2-base",
        "study": "budget",
        "trainer": str(lab.root / "hostile.yaml"),
        "data": {"path": str(lab.root / "home" / "ward-7.scans.npz"), "name": "candidates"},
    } | more


def template_texts() -> list[str]:
    """What the prompt files say by themselves, longest first."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    files = (templates() / "prompts").rglob("*.j2")
    parts = {part.strip() for f in files for _, kind, part in environment.lex(f.read_text()) if kind == "data"}
    return sorted((part for part in parts if len(part) > 8), key=len, reverse=True)


OWN_WORDS = re.compile(
    r"^# (?:Goal|Remaining budget|Settings that failed|Candidates)$|\bcandidates a round: |\bthe round's candidates\b"
    r"|^- \d+ candidates; they say|\((?:llm|optuna_tpe|random_startup|default)\)",
    re.MULTILINE,
)
"""What the code itself says in prompts: these words of ours are names in the study here, and stay."""


def inserted(request: Asked) -> str:
    """A request's text without the prompt files' and the digest's own; of its schema what is no property's name."""
    text = OWN_WORDS.sub("", request.text)
    for part in template_texts():
        text = text.replace(part, "\n")

    def words(schema: Any, key: str = "") -> Iterator[str]:
        if isinstance(schema, dict):
            for name, entry in schema.items():
                yield from words(entry, name)
        elif isinstance(schema, list):
            for entry in schema:
                yield from words(entry, key)
        elif isinstance(schema, str) and key in ("enum", "const", "title"):
            yield schema

    return "\n".join([text, *words(request.schema)])


def stands_in(name: str, text: str) -> bool:
    """Whether a name stands in a text as a whole token, whatever its case."""
    return re.search(rf"(?<![\w]){re.escape(fold(name))}(?![\w])", fold(text)) is not None


def test_names_that_are_words_of_the_prompts_do_not_leave(hostile: Lab, llm_server: LLMServer) -> None:
    llm_server.model = StudyModel(seed=9)
    hostile.tune(max_rounds=3, **hostile_options(hostile, **asked(llm_server)))
    asking = [request for request in llm_server.requests if request.schema is not None]
    assert len(asking) >= 6
    failed = [request.text for request in asking if "# Settings that failed" in request.text]
    words = ("model_A lost class_", "ask user_A@host_B")
    assert failed and all(word in text for text in failed for word in words), "the failure's message has to be there"
    secrets = [
        *NAMES,
        *CLASSES[2:4],
        "c00",
        "tumour",
        "END DATA",
        "gpu-node17.ward.example",
        str(hostile.root),
        hostile.root.name,
    ]
    for request in asking:
        if "# Goal" in request.text:
            assert "# Remaining budget\n- rounds, this one included: " in request.text
            assert "\n- candidates a round: 2\n" in request.text, "what we say ourselves is not mangled"
        text = inserted(request)
        assert stands_in("x", text) and stands_in("score", text), "names of parameters and of the metric stay"
        for name in secrets:
            assert not stands_in(name, text), (name, text)
    for folder in sorted((hostile.root / "budget").glob("round_[23]_*")):
        assert replayed(folder)
        made = decision(folder)
        assert made["notes"] == [] and [c["source"] for c in made["candidates"]] == ["llm", "llm"]
        assert [c["name"] for c in made["candidates"]] == ["c00", "c01"] and made["critique"]["status"] == "asked"


def replayed(folder: Path) -> bool:
    from agent.api.replay import replay_round

    return replay_round(folder).identical


class Analyst(StudyModel):
    """Says which classes it was told of."""

    def _answer(self, asked: Asked, kind: str) -> Behaviour:
        if kind == "other":
            told = " and ".join(sorted(set(re.findall(r"class_[A-Z]+", asked.text))))
            return Say(json={"overall": f"weak are {told}", "trials": [], "keywords": []})
        return super()._answer(asked, kind)


def test_numeric_class_labels_leave_as_aliases_and_come_back(hostile: Lab, llm_server: LLMServer) -> None:
    llm_server.model = Analyst(seed=10)
    hostile.tune(max_rounds=2, **hostile_options(hostile, **asked(llm_server)))
    folder = next((hostile.root / "budget").glob("round_2_*"))
    table = {text: alias for alias, text in read(hostile.root / "budget" / "aliases.json")["aliases"].items()}
    assert all(table[name].startswith("class_") for name in CLASSES)
    finding = next(f for f in read(folder / "analysis.json")["findings"] if f["name"] == "weak_classes")
    assert {entry["class"] for entry in finding["evidence"]["classes"]} == set(WEAK)
    assert " 3 (0.2" in finding["text"], "on disk stand the labels"
    told = [request for request in llm_server.requests if "behind its mean over classes" in request.text]
    assert {kind_of(request) for request in told} == {"tuner", "checker", "other"}
    for request in told:
        for name in WEAK:
            assert f"{table[name]} (0.2" in request.text
            assert not re.search(
                rf"(?<![\w.]){re.escape(name)} \(0\.2|^- {re.escape(name)}: dice", request.text, re.M
            )
    said = (folder / "analysis_llm.txt").read_text()
    assert 'class "3"' in said and 'class "7"' in said
    assert all(re.search(rf"\b{name}\b", said) for name in WEAK) and "class_" not in said
    came = read(folder / "calls" / "001_analyst.json")["reply"]["text"]
    assert all(table[name] in came for name in WEAK)
    digest = next(request.text for request in told if kind_of(request) == "tuner")
    reading = next(line for line in digest.splitlines() if "weak are" in line)
    assert all(table[name] in reading for name in WEAK), "hidden again, numbers too"
    assert not re.search(r"\b[37]\b", reading)


def test_nothing_is_aliased_where_no_model_is_asked(hostile: Lab) -> None:
    hostile.tune(max_rounds=2, **hostile_options(hostile, candidates=2))
    study = hostile.root / "budget"
    assert not (study / "aliases.json").exists()
    folder = next(study.glob("round_2_*"))
    digest = (folder / "step1_hp_autotuning_input.txt").read_text()
    assert "class_" not in digest and "- 3: dice 0.2, " in digest and "- tumour: dice" not in digest
    assert "rules-net_v2 lost tumour and goal; ask alice.smith@gpu-node17" in digest
    assert "- rounds, this one included: " in digest and "(floats rounded to 9 or 10 digits)" in digest
    assert replayed(folder)
