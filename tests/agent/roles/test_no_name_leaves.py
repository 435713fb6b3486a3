"""Every prompt of every role, for every shipped reference, in studies with telling names: no spelling of one leaves,
and no word of ours is taken for one."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from agent.acceptance.verdict import Judgement
from agent.anonymise import Aliases, Machine, Name, gather, words_of
from agent.anonymise.spelled import key
from agent.errors import LLMError, LLMUnavailable
from agent.llm.base import Request
from agent.orchestrator.deciding.agents import aliases_for
from agent.planning import Advice
from agent.records import CandidateResult, Objective, Outcome, Proposal
from agent.reference import Reference, load_reference
from agent.resources import shipped_reference
from agent.roles import analyst, autotuner, checker, digest, judge, panel, planner, researcher
from agent.roles.ask import Agents, Answer, Prompts
from agent.roles.situation import Remedy, Situation
from tests.agent.roles.fake_ask import PROMPTS
from tests.cases.proposer_case import make_reference
from trainers.registry import TRAINERS

METRIC = "dice"
CLASSES = ("Left_Ventricle", "rightAtrium", "Myokard Rand", "Ösophagus", "3")
DATA = {"path": "/srv/Charité/HeartMRI/scans_v2.npz"}
#: Said by programs, logs and other models.
WORDS = (
    *(
        "ventricle",
        "the left one, VENTRICLE",
        "Rand",
        "Left_Ventricle",
        "left ventricle",
        "LEFT-VENTRICLE",
        "leftVentricle",
        "LeftVentricle2",
        "right_atrium",
    ),
    *("RIGHT ATRIUM", "myokard-rand", "MyokardRand", "Oesophagus", "osophagus", "O\u0308SOPHAGUS"),
    *("HeartMRI", "heart_mri", "Heart MRI", "heart", "MRI", "heartMriV2", "Charité", "Charite", "CHARITÉ", "charite"),
    *("Dataset004_Hippocampus", "Task04_Hippocampus", "hippocampus", "nnUNetTrainerX__nnUNetPlans__2d", "nnU-Net"),
    *("Hippocampus-study", "Dataset017_Secretorgan", "nn-unet", "nn_unet"),
    *("data/HeartMRI/case_001.nii.gz", "./x/case_17.png", "case_0042_0000.nii.gz", "runs/secretrun/round_1/x"),
    *("gpu-n017", "gpu-n023.cluster", "adam.smith", "Adam Smith", "adam_smith", "/home/adam.smith/x y"),
    *("srun: error: zeus77: task 3: Killed", "slurmstepd: error: *** STEP 1.0 ON zeus78 CANCELLED AT 1 ***"),
)
#: None of these may stand in anything that is sent: keys, looked for in the key of the text.
SECRETS = (
    *(
        "ventricle",
        "atrium",
        "leftventricle",
        "rightatrium",
        "myokard",
        "osophagus",
        "oesophagus",
        "heart",
        "mri",
        "charit",
        "hippocampus",
    ),
    *(
        "dataset0",
        "task04",
        "secretorgan",
        "secretrun",
        "case0",
        "case1",
        "gpun0",
        "zeus",
        "smith",
        "scansv2",
    ),
)
MACHINE = Machine(user="adam.smith", hosts=("gpu-n017",), folders=("/home/adam.smith",))


class Recorder:
    """Keeps what is asked; consultants and searches get words with names, others nothing."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        if request.schema is None:
            return Answer(call="000_x", prompt_sha256="", model="m", text=" ".join(WORDS[:20]))
        raise LLMUnavailable("down")


def situation(reference: Reference, said: str) -> Situation:
    values = {name: parameter.default for name, parameter in reference.parameters.items()}
    short = "; ".join(said.split("; ")[:6])
    flag = {"name": "flag", "text": short, "evidence": {short: 1.0}}
    history = [
        CandidateResult(
            round=1,
            candidate=f"c{place:02d}",
            values=values,
            key=str(place),
            outcome=outcome,
            value=0.5 if outcome is Outcome.OK else None,
            n=int(outcome is Outcome.OK),
            source="llm",
            message="" if outcome is Outcome.OK else part,
        )
        for place, (outcome, part) in enumerate(
            itertools.product((Outcome.OK, Outcome.BAD_CONFIG), said.split("; ")[:8])
        )
    ]
    return Situation(
        reference=reference,
        history=history,
        objective=Objective(metric=METRIC, direction="maximize"),
        findings=[flag],
        trials=[{"trial": "c00 fold 0 seed 0", "candidate": "c00", "flags": [flag], "trends": {short: 1.0}}],
        base_name="the incumbent",
        base={name: values[name] for name in reference.tunable()},
        suggestion=Proposal(values=values, source="optuna_tpe", reason="TPE over 3"),
        taken={"a": "round 1 c00"},
        remaining={"candidates a round": 2},
        reading=said,
        remedies=[Remedy(text=short, sources=("https://arxiv.org/abs/1",))],
    )


def requests(reference: Reference, aliases: Aliases, said: str) -> list[Request]:
    ask = Recorder()
    short = "; ".join(said.split("; ")[:4])
    agents = Agents(ask=ask, prompts=Prompts([PROMPTS], aliases.hide))
    seen = situation(reference, said)
    values = digest.base_values(seen)
    checked = checker.check(reference, [Proposal(values=values, source="llm", reason=short)], taken=frozenset())
    result = CandidateResult(round=1, candidate="c00", values=values, key="k", outcome=Outcome.OK, value=0.5, n=1)
    judged = {"c00": Judgement(verdict="borderline", why=short, rule="acceptance.yaml")}
    advice = Advice(step="small", reason=short, idle=0)
    for act in (
        lambda: analyst.read(agents, seen),
        lambda: researcher.research(agents, [short, "overfitting"]),
        lambda: autotuner.suggest(agents, seen, 2),
        lambda: panel.discuss(agents, seen, 2, 2),
        lambda: planner.suggest(agents, seen, 2, advice=advice, past=[]),
        lambda: checker.critique(agents, seen, checked),
        lambda: judge.ask(agents, objective=seen.objective, incumbent=result, candidates=[result], judgements=judged),
    ):
        try:
            act()
        except LLMError:
            continue
    return ask.requests


def aliases(
    reference: Reference, trainer: str, *, shipped: bool = True, known: dict[str, str] | None = None, **changes: Any
) -> tuple[Aliases, list[Name]]:
    texts = [path.read_text() for path in sorted(Path(PROMPTS).rglob("*.j2"))]
    texts += [*reference.parameters, *(p.description for p in reference.parameters.values() if shipped)]
    facts: dict[str, Any] = {
        "task": "Dataset004_Hippocampus",
        "study": "hippocampus-study-3",
        "data": DATA,
        "classes": CLASSES,
        "machine": MACHINE,
    }
    names = gather(trainer=trainer, vocabulary=words_of(texts), **(facts | changes))
    return aliases_for(
        names,
        reference,
        METRIC,
        shipped=shipped,
        vocabulary=words_of(texts),
        known=known or {},
        values=["c00", "c01"],
    )


def sent(asked: list[Request], made: Aliases) -> list[str]:
    texts = []
    for request in asked:
        texts += [request.system, *(message.text for message in request.messages)]
        texts.append(request.search.query if request.search else "")
        if request.schema is not None:
            texts.append(str(made.hide_json(request.schema)))
    return texts


@pytest.mark.parametrize("trainer", sorted(TRAINERS))
def test_no_spelling_of_a_name_is_in_any_prompt(trainer: str) -> None:
    reference = load_reference(shipped_reference(trainer))
    made, own = aliases(reference, trainer)
    told = [*WORDS, f"{trainer.upper()} {trainer.title()}"]
    for rotation in range(0, len(told), 9):
        asked = requests(reference, made, "; ".join(told[rotation:] + told[:rotation]))
        roles = {"analyst", "researcher", "autotuner", "consultant_a", "consultant_b", "supervisor", "planner"}
        assert {request.role for request in asked} >= {*roles, "checker", "judge"}
        for text in sent(asked, made):
            for secret in (*SECRETS, key(trainer)):
                found = re.search(rf".{{30}}{secret}.{{30}}", key(text))
                assert found is None, (secret, found)
    assert own == [], "nothing had to be sent for being a word of ours"


def hostile(reference: Reference, case: str) -> tuple[dict[str, Any], set[str]]:
    """Facts of a study whose names are words of its reference, and the names that the person is told of."""
    parameters = [name for name in reference.tunable() if len(name) > 3]
    words = [c for p in reference.parameters.values() for c in p.choices or () if isinstance(c, str) and len(c) > 2]
    choice = next(word for word in words if word.isalpha())
    cases: dict[str, tuple[dict[str, Any], set[str]]] = {
        "user": ({"machine": Machine(user="adam"), "hosts": []}, {"adam"} & {word.lower() for word in words}),
        "hosts": ({"hosts": ["node", "batch", choice.upper()]}, {"node", "batch", choice.upper()}),
        "study": ({"study": parameters[0], "task": parameters[1].upper()}, {parameters[0], parameters[1].upper()}),
        "data": ({"data": {"name": choice}, "classes": [choice.title()]}, {choice, choice.title()}),
    }
    return cases[case]


@pytest.mark.parametrize("case", ["user", "hosts", "study", "data"])
@pytest.mark.parametrize("trainer", sorted(TRAINERS))
def test_words_of_ours_are_no_names(trainer: str, case: str) -> None:
    """The digest and the answers' schemas read as without any alias, and the person is told what is sent."""
    reference = load_reference(shipped_reference(trainer))
    quiet: dict[str, Any] = {"task": "qzt", "study": "qzs", "data": {}, "classes": (), "machine": Machine()}
    facts, told = hostile(reference, case)
    made, own = aliases(reference, "qzm", **(quiet | facts))
    plain = situation(reference, "the loss went up after epoch 3")
    with_aliases = digest.digest(plain, hide=made.hide)
    assert with_aliases == digest.digest(plain)
    schema = autotuner.answer_schema(reference, 2)
    assert made.hide_json(schema) == schema
    assert {name.text for name in own} >= told


def test_a_persons_own_choices_are_words_unless_a_name_is_in_them() -> None:
    reference = make_reference(
        {
            "optimiser": {"type": "categorical", "choices": ["adam", "sgd"], "default": "adam"},
            "weights": {
                "type": "categorical",
                "choices": ["none", "heart_mri_v1", "/data/w/a.pt", "pretrained/x.pt"],
                "default": "none",
            },
        }
    )
    made, own = aliases(
        reference, "mine", shipped=False, machine=Machine(user="adam", hosts=("sgd",)), study="optimiser"
    )
    assert {(name.kind, name.text) for name in own} == {("user", "adam"), ("host", "sgd"), ("study", "optimiser")}
    hidden = made.hide_json({"enum": ["adam", "sgd", "none", "heart_mri_v1", "/data/w/a.pt", "pretrained/x.pt"]})
    assert hidden["enum"][:3] == ["adam", "sgd", "none"]
    assert not re.search("heart|mri|data/|pretrained", str(hidden))
    assert made.reveal_json(hidden["enum"])[3:] == ["heart_mri_v1", "/data/w/a.pt", "pretrained/x.pt"]
    assert made.hide("adam and optimiser on sgd") == "adam and optimiser on sgd"
    # What an earlier round knew counts where this machine is another one (a replay).
    again, _ = aliases(
        reference, "mine", shipped=False, machine=Machine(), study="optimiser", known=dict(made.to_json())
    )
    assert again.hide("adam on sgd") == "adam on sgd"


def test_telling_words_of_class_names_are_hidden_and_plain_ones_stay() -> None:
    """Neither an alias of a class, nor a word that every study has, nor a class that is called like a word."""
    reference = make_reference({"lr": {"type": "float", "low": 1e-4, "high": 1e-1, "default": 1e-2, "log": True}})
    classes = (
        "Left_Ventricle",
        "enhancing tumor core",
        "tumor",
        "upperLobe",
        "lower_lobe",
        "normal_background",
        "GBM_rim",
    )
    made, own = aliases(
        reference, "mine", shipped=False, task="qzt", study="qzs", data={}, classes=classes, machine=Machine()
    )
    hidden = made.hide("ventricle; the tumor, its core; lobes, Lobe and lower; normal, a background; GBM")
    assert re.fullmatch(
        r"task_(\w); the class_C, its core; lobes, task_(\w) and lower; normal, a background; task_(\w)", hidden
    )
    assert made.hide("Left_Ventricle, lower_lobe") == "class_A, class_E"
    assert made.reveal(hidden.replace("lobes, ", "")).lower() == (
        "ventricle; the tumor, its core; lobe and lower; normal, a background; gbm"
    )
    assert own == []
