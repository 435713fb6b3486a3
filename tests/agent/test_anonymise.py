"""Anonymisation: no registered name leaves, every alias comes back, and nothing else is touched."""

from __future__ import annotations

import itertools
import json
import socket
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from agent.anonymise import KINDS, UNNAMED, Aliases, Machine, Name, NoAliases, gather, in_json, this_machine, words_of
from agent.anonymise.aliases import is_plain_value
from agent.anonymise.spelled import key
from agent.anonymise.tokens import Tokens, fold, is_mark
from agent.errors import UsageError

KEEP = ("learning_rate", "dropout", "weight decay", "class_C")
KEPT = (*KEEP, "learning rate", "class C")


def aliases(*names: tuple[str, str], **rest: Any) -> Aliases:
    return Aliases.of([Name(kind=kind, text=text) for kind, text in names], **rest)


# --- what a hostile study may be called ------------------------------------------------------------------

_ALPHABET = st.one_of(
    st.sampled_from("ab1_-. /\\~:@$(){}[]*+?^|#\n\t\"'%{}"),
    st.sampled_from("éÉe\u0301ßẞſİıΣςσǰﬀ가각ᄀ\u200dñ日本К٣"),
    st.characters(exclude_categories=["Cs"]),
)
_TRAPS = st.one_of(
    st.sampled_from(["class_A", "dataset_A", "model_A_big", "A", "model", "the", "a", "a b", "a b a", "ab", "path"]),
    st.sampled_from(["learning", "learning_rate", "decay", "dropouts", "https", "user_", "_a_", "__", "{{ a }}"]),
    st.sampled_from(["C++", ".*", "(a)", "a|b", "[a", "\\d", "$", "^a$", "cafe\u0301", "CAFÉ", "straße", "STRASSE"]),
    st.sampled_from(["/data/a", "/data/a b", "C:\\a", "s3://b/a", "a@b.org", "~/a", "a\nb"]),
    st.sampled_from(["8", "5", "nan", "True", "true", "-3", 'class "8"', 'class "', "class", '"8"', "dropout"]),
)
TEXTS = st.one_of(_TRAPS, st.text(_ALPHABET, min_size=1, max_size=8)).filter(lambda text: bool(text.strip()))
NAMES = st.lists(
    st.tuples(st.sampled_from(KINDS), TEXTS.filter(lambda text: not is_mark(text[0]))), min_size=1, max_size=8
)


@st.composite
def studies(draw: st.DrawFn) -> tuple[list[tuple[str, str]], str]:
    """Names, and a text that is full of them."""
    names = draw(NAMES)
    pieces = st.one_of(
        st.sampled_from([text for _, text in names]), TEXTS, st.sampled_from(KEEP), st.text(max_size=4)
    )
    joints = st.sampled_from([" ", ", ", "", "_", "\n", "/", "(", ")", "-", ".", ":", '"', "=", "@"])
    parts = draw(st.lists(st.tuples(pieces, joints), max_size=10))
    return names, "".join(piece + joint for piece, joint in parts)


def standing(name: str, text: str, *, joined: bool = False) -> list[tuple[int, int]]:
    """Where a name stands as a whole token in a folded text: the definition, as plainly as possible.

    joined: `_` beside it does no harm.
    """
    name = fold(name)

    def is_open(place: int) -> bool:
        character = text[place] if 0 <= place < len(text) else " "
        return (character == "_" and joined) or not (character.isalnum() or character == "_" or is_mark(character))

    places = [place for place in range(len(text)) if text.startswith(name, place)]
    return [(place, place + len(name)) for place in places if is_open(place - 1) and is_open(place + len(name))]


def left_over(name: str, hidden: str, stays: list[str]) -> bool:
    """Whether a name is left, beside what may stay: parameter names and aliases, and what they cut in two."""
    text = fold(hidden)
    spans = [span for each in stays for span in standing(each, text, joined=True)]
    return any(
        all(
            end <= first or last <= begin or (begin <= first and last <= end and (begin, end) != (first, last))
            for first, last in spans
        )
        for begin, end in standing(name, text)
    )


@settings(max_examples=200, deadline=None)
@given(studies())
@example(([("model", "a"), ("dataset", ".b")], "(a).b a.b"))
@example(([("model", "(a)"), ("dataset", ".b")], "(a).b"))
@example(([("model", "x_model"), ("dataset", "bar1")], "x_bar1_foo x_model_A"))
@example(([("model", "https")], "https://a/b"))
@example(([("class", ";"), ("model", "foo")], "C++/; C++/;-foo"))
@example(([("path", "/data/a b")], '/data/a b/c.txt "/data/a b/c d.txt" /data/a b: no'))
def test_no_name_is_left_and_hiding_again_changes_nothing(study: tuple[list[tuple[str, str]], str]) -> None:
    names, text = study
    made = aliases(*names, keep=KEEP)
    hidden = made.hide(text)
    assert made.hide(hidden) == hidden
    for _, name in names:
        if not is_plain_value(name):
            assert not left_over(name, hidden, [*KEPT, *UNNAMED.values(), *made.to_json()]), (name, hidden)


@settings(max_examples=200, deadline=None)
@given(studies())
@example(([("path", "/data/a"), ("user", "a")], "cafe\u0301/data/a e\u0301a@b.org a@b.org\u0301"))
def test_what_is_hidden_comes_back_but_for_its_case(study: tuple[list[tuple[str, str]], str]) -> None:
    names, text = study
    made = aliases(*names, keep=KEEP)
    hidden = made.hide(text)
    assume(not made.lookalikes(text) and not any(unnamed in hidden for unnamed in UNNAMED.values()))
    assert key(made.reveal(hidden)) == key(text), "but for its case, accents and separators"


@settings(max_examples=100, deadline=None)
@given(NAMES)
def test_every_name_alone_has_an_alias_of_its_own(names: list[tuple[str, str]]) -> None:
    made = aliases(*names, keep=KEEP)
    table = made.to_json()
    assert len(set(table)) == len(table) == len({text for _, text in names})
    assert set(table.values()) == {text for _, text in names}
    for alias, text in table.items():
        shown = made.reveal(alias)
        assert shown == made.reveal(alias.lower()) == made.reveal(f"({alias}).")[1:-2]
        assert shown == text or shown == f'class "{text}"' == made.in_text(text)
        assert made.reveal_json(alias) == made.reveal_json(alias.lower()) == text
        assert is_plain_value(text) <= (shown != text)
        for other in [*table.values(), *KEEP]:
            assert not standing(alias, fold(other), joined=True)
    assert Aliases.of([], keep=KEEP, known=json.loads(json.dumps(table))).to_json() == table


@settings(max_examples=100, deadline=None)
@given(NAMES, NAMES)
def test_an_earlier_table_is_only_extended(first: list[tuple[str, str]], more: list[tuple[str, str]]) -> None:
    table = aliases(*first, keep=KEEP).to_json()
    later = aliases(*more, keep=KEEP, known=table)
    assert {text for _, text in first + more} == set(later.to_json().values())
    for alias, text in table.items():
        if not any(fold(alias) in fold(name) for _, name in more):
            assert later.to_json()[alias] == text
    assert aliases(*more, *first, keep=KEEP, known=later.to_json()).to_json() == later.to_json()


@settings(max_examples=200, deadline=None)
@given(NAMES, st.lists(TEXTS, max_size=6))
def test_choices_come_back_letter_by_letter(names: list[tuple[str, str]], choices: list[str]) -> None:
    made = aliases(*names, keep=KEEP, values=choices)
    schema = {"type": "object", "properties": {"class_A": {"enum": choices}}, "required": ["class_A"]}
    sent = made.hide_json(schema)
    assert sent["required"] == ["class_A"] and list(sent["properties"]) == ["class_A"]
    assert made.reveal_json(sent["properties"]["class_A"]["enum"]) == choices


# --- tokens ----------------------------------------------------------------------------------------------


def test_folding_twice_is_folding_once_and_letters_stay_letters() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in ("Cs", "Cn", "Co"):
            continue
        folded = fold(character)
        assert fold(folded) == folded, hex(code)
        if character.isalnum():
            assert all(c.isalnum() or is_mark(c) for c in folded), hex(code)


@settings(max_examples=300, deadline=None)
@given(st.text(_ALPHABET, max_size=30))
def test_tokens_are_the_folded_text_and_know_where_they_stand(text: str) -> None:
    tokens = Tokens(text)
    assert "".join(tokens.texts) == fold(text)
    edges = [tokens.begin(place) for place in range(len(tokens.texts) + 1)]
    assert edges[0] == 0 and edges[-1] == len(text)
    known = [(edge, place) for place, edge in enumerate(edges) if edge is not None]
    assert known == sorted(known)
    for (begin, first), (end, last) in itertools.pairwise(known):
        assert fold(text[begin:end]) == "".join(tokens.texts[first:last])


@pytest.mark.parametrize("text", ["CAFÉ", "cafe\u0301", "Café", "CAFE\u0301"])
def test_case_and_normal_form_do_not_matter(text: str) -> None:
    made = aliases(("dataset", "café"), ("class", "Straße"))
    assert made.hide(f"on {text}, STRASSE") == "on dataset_A, class_A"
    assert made.hide("cafés décafé caf") == "cafés décafé caf"
    assert made.hide("cafe \u0301 cafe\u0301\u0301") == "dataset_A \u0301 dataset_A", "accents do not matter either"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("cifar10", "dataset_A"),
        ("cifar100 xcifar10 cifar10x 日cifar10", "cifar100 xcifar10 cifar10x 日cifar10"),
        ("cifar10_train cifar10-train (CIFAR10)", "dataset_A_train dataset_A-train (dataset_A)"),
        ("ox ox_cart", "class_A ox_cart"),
        ("left kidney of kidney", "class_B of class_C"),
        ("learning_rate dropout DROPOUT", "learning_rate dropout DROPOUT"),
    ],
)
def test_whole_tokens_only_and_the_longest_first(text: str, hidden: str) -> None:
    names = [("dataset", "cifar10"), ("class", "ox"), ("class", "Left Kidney"), ("class", "Kidney")]
    assert (
        aliases(*names, ("model", "dropout"), ("model", "rate"), keep=["learning_rate", "dropout"]).hide(text)
        == hidden
    )


def test_numbers_and_literals_are_hidden_only_as_labels() -> None:
    classes = ["3", "nan", "True", "dropout", "cat", "Cat"]
    made = aliases(*(("class", name) for name in classes), keep=["dropout"])
    text = "loss nan at epoch 3, amp true, dropout 0.1"
    assert made.hide(text) == text
    shown = ['class "3"', 'class "nan"', 'class "True"', 'class "dropout"', "cat", "Cat"]
    assert [made.in_text(name) for name in classes] == shown
    assert [made.hide(each) for each in shown] == [f"class_{letter}" for letter in "ABCDEF"]
    with pytest.raises(ValueError, match="'dog' is not registered"):
        made.in_text("dog")


def test_a_numeric_class_that_a_model_names_does_not_leave_with_the_next_prompt() -> None:
    made = aliases(("class", "8"), ("class", "5"), ("class", "liver"))
    said = "class_A and class_B are weak at 8 of 5 epochs, unlike class_C"
    revealed = made.reveal(said)
    assert revealed == 'class "8" and class "5" are weak at 8 of 5 epochs, unlike liver'
    assert made.hide(revealed) == said and made.hide(made.hide(revealed)) == said
    answer = {"class": "class_A", "names": ["class_B", "class_C"], "why": "class_A is weak"}
    assert made.reveal_json(answer) == {"class": "8", "names": ["5", "liver"], "why": 'class "8" is weak'}


def test_json_stays_json_when_its_names_have_quotation_marks() -> None:
    made = aliases(("class", "8"), ("dataset", "diagnosis"), ("model", 'my "net"'))
    sent = '{"diagnosis":  "class_A of dataset_A\\n\\u00e9 by model_A", "n": 8, "x": ["caf\\u00e9", "class_A"]}'
    came = in_json(sent, made.reveal_json)
    assert json.loads(came) == {"diagnosis": 'class "8" of diagnosis\né by my "net"', "n": 8, "x": ["café", "8"]}
    assert came.startswith('{"diagnosis":  "') and came.endswith('"n": 8, "x": ["caf\\u00e9", "8"]}')
    hidden = in_json(came, made.hide)
    assert json.loads(hidden)["diagnosis"] == "class_A of dataset_A\né by model_A"
    assert in_json('{"a": "class_A and \\ud800"}', made.reveal_json) == '{"a": "class \\"8\\" and \\ud800"}'
    assert in_json('Here: {"a": class_A', made.reveal) == 'Here: {"a": class "8"'


@settings(max_examples=200, deadline=None)
@given(NAMES, st.recursive(TEXTS | st.booleans(), lambda each: st.lists(each) | st.dictionaries(TEXTS, each)))
def test_names_in_json_come_back_and_never_break_it(names: list[tuple[str, str]], content: Any) -> None:
    made = aliases(*names, keep=KEEP)
    for indent in (None, 2):
        hidden = in_json(json.dumps(content, indent=indent), made.hide)
        assert in_json(hidden, made.hide) == hidden

        def changed(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: changed(entry) for key, entry in value.items()}
            return [changed(e) for e in value] if isinstance(value, list) else _hidden(value, made)

        assert json.loads(hidden) == changed(content)


def _hidden(value: Any, made: Aliases) -> Any:
    return made.hide(value) if isinstance(value, str) else value


def test_aliases_avoid_names_and_parameters() -> None:
    made = aliases(("class", "class_A"), ("class", "x_class_b_y"), keep=["CLASS_C"])
    assert made.to_json() == {"class_D": "class_A", "class_E": "x_class_b_y"}
    assert made.hide("class_A class_C") == "class_D class_C"
    many = aliases(*(("class", f"organ {number}") for number in range(703)))
    assert list(many.to_json())[25:28] == ["class_Z", "class_AA", "class_AB"]
    assert list(many.to_json())[-1] == "class_AAA"


def test_an_alias_that_now_collides_is_given_up() -> None:
    made = aliases(("class", "class_A"), known={"class_A": "cat", "class_B": "dog"})
    assert made.to_json() == {"class_C": "cat", "class_B": "dog", "class_D": "class_A"}


def test_an_alias_in_a_foreign_text_is_noted() -> None:
    made = aliases(("dataset", "cifar10"), ("host", "gpu7"))
    log = "the log says DATASET_A and my_host_A, host_AB"
    assert made.lookalikes(log) == ["dataset_A", "host_A"]
    assert made.lookalikes(made.hide("nothing here")) == []
    assert made.hide(log) == log


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u2003"])
def test_empty_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        Name(kind="class", text=text)
    with pytest.raises(ValueError, match="empty"):
        Name(kind="class", text="cat", spellings=(text,))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="dataset, model, task"):
        Name(kind="secret", text="x")


@pytest.mark.parametrize(
    "table",
    [
        {"klass_A": "x"},
        {"class_a": "x"},
        {"class_": "x"},
        {"class_A": " "},
        {"class_A": 3},
        ["class_A"],
        {"class_A": "x", "class_B": "x"},
    ],
)
def test_a_table_that_is_none_is_refused(table: Any) -> None:
    with pytest.raises(UsageError, match="alias table"):
        Aliases.of([], known=table)


# --- paths and addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("open /home/alice/x/y.npz: no", "open path_unnamed: no"),
        ('File "/data/my set/a b.py", line 3', 'File "path_unnamed", line 3'),
        ("in '/data/my set/a b.py'.", "in 'path_unnamed'."),
        (
            "(/mnt/x) C:\\Users\\bob\\d.csv \\\\nas\\share\\x ~/x ~bob/x",
            "(path_unnamed) " + " ".join(["path_unnamed"] * 4),
        ),
        ("file:///a/b s3://bucket/key $HOME/x ${DATA}/x", " ".join(["path_unnamed"] * 4)),
        ("PATH=/usr/bin:/home/bob/bin", "PATH=path_unnamed"),
        ("/srv/set", "path_A"),
        ('/srv/set:12 "/srv/set" (/SRV/set)', 'path_A:12 "path_A" (path_A)'),
        ("/srv/set/train/1.png /srv/set-old/x /srv/settle", "path_unnamed path_unnamed path_unnamed"),
        ("/srv/my set", "path_B"),
        ("/srv/my set/train/1.png, 3", "path_unnamed, 3"),
        ("and/or 1/2 (a + b)/c a / b 3 /4 runs/x", "and/or 1/2 (a + b)/c a / b 3 /4 runs/x"),
        (
            "./y, ../z (runs/a/round_1) x/y.npz case_17.nii.gz",
            ", ".join(["path_unnamed"] * 2) + " (path_unnamed) path_unnamed path_unnamed",
        ),
        (
            "x/n_heads/2 train/loss/dice torch.log(x) summary.json b/y.json.",
            "x/n_heads/2 train/loss/dice torch.log(x) summary.json path_unnamed.",
        ),
        ("d_model /n_heads", "d_model /n_heads"),
        ("https://arxiv.org/abs/1 http://gpu7/x", "https://arxiv.org/abs/1 http://host_A/x"),
        ("alice@gpu7 alice@gpu7.x.org bob@gpu7", "user_A@host_A user_A@host_unnamed user_unnamed@host_A"),
        ("to bob.smith@uni.example, recall@10 mAP@0.5:0.95", "to user_unnamed@host_unnamed, recall@10 mAP@0.5:0.95"),
    ],
)
def test_paths_and_addresses_go_and_arithmetic_stays(text: str, hidden: str) -> None:
    names = [("path", "/srv/set"), ("path", "/srv/my set"), ("user", "alice"), ("host", "gpu7")]
    made = aliases(*names, keep=["n_heads", "x"])
    assert made.hide(text) == hidden
    assert made.hide(hidden) == hidden


# --- schemas ---------------------------------------------------------------------------------------------


def test_a_schema_keeps_its_property_names() -> None:
    made = aliases(("model", "resnet9"), ("dataset", "digits"), keep=["arch"])
    schema = {
        "$defs": {"digits": {"const": "resnet9"}},
        "type": "object",
        "title": "Changes to ResNet9",
        "properties": {
            "digits": {
                "type": "string",
                "enum": ["resnet9", "arch"],
                "default": "resnet9",
                "description": "of digits",
            },
            "enum": {"anyOf": [{"$ref": "#/$defs/digits"}, {"type": ["number", "null"], "enum": [1, None, True]}]},
        },
        "required": ["digits", "enum"],
        "additionalProperties": False,
    }
    assert made.hide_json(schema) == {
        "$defs": {"digits": {"const": "model_A"}},
        "type": "object",
        "title": "Changes to ResNet9",
        "properties": {
            "digits": {
                "type": "string",
                "enum": ["model_A", "arch"],
                "default": "model_A",
                "description": "of digits",
            },
            "enum": {"anyOf": [{"$ref": "#/$defs/digits"}, {"type": ["number", "null"], "enum": [1, None, True]}]},
        },
        "required": ["digits", "enum"],
        "additionalProperties": False,
    }
    answer = {"arch": "MODEL_A", "dataset_A": [{"why": "dataset_A is small", "n": 3, "ok": None}]}
    assert made.reveal_json(answer) == {
        "arch": "resnet9",
        "dataset_A": [{"why": "digits is small", "n": 3, "ok": None}],
    }


@pytest.mark.parametrize("choice", ["/weights/a.pt", "ResNet9"])
def test_a_choice_that_would_not_come_back_is_refused(choice: str) -> None:
    names = [("model", "resnet9")]
    with pytest.raises(ValueError, match="cannot be anonymised and restored"):
        aliases(*names).hide_json({"enum": [choice]})
    made = aliases(*names, values=[choice])
    assert made.hide_json({"enum": [choice]}) == {"enum": ["value_A"]}
    assert made.reveal("value_A") == choice


def test_without_anonymisation_everything_stays() -> None:
    text = "/home/alice/x bob@uni.example dataset_A"
    plain = NoAliases()
    assert plain.hide(text) == plain.reveal(text) == text
    assert plain.in_text("3") == "3"
    assert plain.hide_json({"enum": [text], "title": text}) == {"enum": [text], "title": text}
    assert plain.to_json() == {} and plain.lookalikes(text) == []


# --- gathering -------------------------------------------------------------------------------------------

MACHINE = Machine(user="alice", hosts=("gpu7.cluster.example",), folders=("/home/alice", "/work/alice/tuning"))


def test_the_names_of_a_study() -> None:
    names = gather(
        task="Task601_TotalSegmentatorV1",
        study="abdomen",
        trainer="resnet9",
        data={"path": "/srv/sets/imagenet/train.npz", "name": "Kidney CT", "split": "val", "limit": 3, "n": True},
        classes=["liver", "3", "A", "a", " "],
        folder=Path("/work/alice/tuning/runs/abdomen"),
        hosts=["node12"],
        machine=MACHINE,
    )
    assert [(name.kind, name.text) for name in names] == [
        ("task", "Task601_TotalSegmentatorV1"),
        ("dataset", "TotalSegmentatorV1"),
        ("task", "Task601"),
        ("study", "abdomen"),
        ("model", "resnet9"),
        ("path", "/srv/sets/imagenet/train.npz"),
        ("dataset", "imagenet"),
        ("dataset", "Kidney CT"),
        ("class", "liver"),
        ("class", "3"),
        ("class", "A"),
        ("class", "a"),
        ("path", "/home/alice"),
        ("path", "/work/alice/tuning"),
        ("path", "/work/alice/tuning/runs/abdomen"),
        ("user", "alice"),
        ("host", "gpu7.cluster.example"),
        ("host", "gpu7"),
        ("host", "node12"),
    ]
    made = Aliases.of(names)
    said = "ResNet-9 and RESNET_9 on Kidney-CT by alice at gpu7, /work/alice/tuning/runs/abdomen/x.log"
    assert made.hide(said) == "model_A and model_A on dataset_C by user_A at host_B, path_unnamed"
    assert made.reveal("model_A on dataset_C") == "resnet9 on Kidney CT"


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (
            "sets/ct.nii.gz",
            [("path", "sets/ct.nii.gz"), ("path", str(Path("sets/ct.nii.gz").absolute())), ("dataset", "ct")],
        ),
        ("D:\\sets\\brats\\train", [("path", "D:\\sets\\brats\\train"), ("dataset", "brats")]),
        ("s3://bucket/brats", [("path", "s3://bucket/brats"), ("dataset", "brats")]),
        ("brats.npz", [("dataset", "brats")]),
        ("train.npz", []),
        ("/data", [("path", "/data")]),
        ("org/set-v2", [("path", "org/set-v2"), ("path", str(Path("org/set-v2").absolute())), ("dataset", "set-v2")]),
    ],
)
def test_data_gives_paths_and_data_sets(value: str, names: list[tuple[str, str]]) -> None:
    found = gather(task="t", study="t", trainer="m", data={"path": value}, machine=Machine())
    kinds = [(name.kind, name.text) for name in found if name.kind in ("path", "dataset")]
    assert [each for each in names if each not in kinds] == []


def test_nobody_is_no_name() -> None:
    machine = Machine(user="root", hosts=("localhost",), folders=("/root", "/"))
    names = gather(task="digits", study="DIGITS", trainer="resnet9", machine=machine)
    assert [(name.kind, name.text) for name in names] == [("task", "digits"), ("model", "resnet9"), ("path", "/root")]


def test_this_machine_is_known_as_far_as_it_knows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert this_machine().hosts == (socket.gethostname(),)

    def unknown(*_: object) -> Any:
        raise OSError("no entry for this user")

    monkeypatch.setattr("getpass.getuser", unknown)
    monkeypatch.setattr(Path, "cwd", unknown)
    found = this_machine()
    assert found.user == "" and found.folders == (str(Path.home()),)


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=4), TEXTS)
def test_gathering_takes_any_text(task: str, trainer: str, value: str, classes: list[str], user: str) -> None:
    machine = Machine(user=user, hosts=(user,), folders=(value,))
    names = gather(task=task, study=task, trainer=trainer, data={"path": value}, classes=classes, machine=machine)
    made = Aliases.of(names)
    for text in (task, trainer):
        assert is_plain_value(text) or not left_over(text, made.hide(text), [*made.to_json(), *UNNAMED.values()])
    for name in classes:
        assert made.hide(made.in_text(name)) in made.to_json()


# --- size ------------------------------------------------------------------------------------------------


def steps_of(count: int, text: str, names: int) -> int:
    """How many lines of Python hiding and revealing takes: the same on every machine, unlike seconds."""
    made = aliases(*(("class", f"a a {number} a") for number in range(names)))
    steps = 0

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal steps
        steps += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        made.reveal(made.hide(text * count))
    finally:
        sys.settrace(before)
    return steps


@pytest.mark.parametrize("text", ["a a a a a 7 a, ", "x/y /a/b a@b.cd ", '~a~$a:// "/', "é a a "])
def test_work_grows_with_the_text_and_not_with_the_names(text: str) -> None:
    few = steps_of(100, text, 10)
    assert steps_of(400, text, 10) < 4.5 * few
    assert steps_of(100, text, 400) < 1.5 * few


@pytest.mark.parametrize(
    "character", ["a", "/", "~", "@", "\\", "a.", "a@", "a/", '"/', "$", "a:", "é", "e\u0301", "\u0301", "_", "a_"]
)
def test_a_long_run_of_one_character_is_no_trap(character: str) -> None:
    made = aliases(("class", "a a"), ("path", "/a/b"), ("class", "é"))
    text = character * (100_000 // len(character))  # what is quadratic takes minutes here
    assert made.hide(made.hide(text)) == made.hide(text)


# --- spellings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("LEFT-VENTRICLE left.ventricle leftVentricle LeftVentricle", "class_A class_A class_A class_A"),
        ("left ventricle left\nventricle leftventricle", "class_A class_A class_A"),
        ("LeftVentricle2 preLeftVentricleMask left_ventricle_v2", "class_A-2 pre-class_A-Mask class_A_v2"),
        (
            "leftventricles xleftventricle left, ventricle ventricle",
            "leftventricles xleftventricle left, ventricle ventricle",
        ),
        ("Charite CHARITÉ charité Charités", "dataset_A dataset_A dataset_A Charités"),
        ("Mueller muller MÜLLER Mullerin", "user_A user_A user_A Mullerin"),
        ("adam a dam ad-am ad am Adams", "user_B a dam user_B ad am Adams"),
        ("nnU-Net nnUNetPlans nn_unet NNUNET nnunetv2", "model_A model_A-Plans model_A model_A model_A-2"),
        ("learning rate learningRate LR rates", "learning rate learningRate LR rates"),
        ("gpu-n017 gpu-n018 gpu-17 n017", "host_A host_unnamed gpu-17 n017"),
        ("Dataset017_Foo-Bar Task04 dataset 3 task_1", "dataset_unnamed dataset_unnamed dataset 3 task_1"),
    ],
)
def test_other_spellings(text: str, hidden: str) -> None:
    names = [("class", "Left_Ventricle"), ("dataset", "Charité"), ("user", "Müller"), ("user", "adam")]
    made = aliases(*names, ("model", "nnunet"), ("study", "rate"), ("host", "gpu-n017"), keep=["learning_rate"])
    assert made.hide(text) == hidden.replace("model_A-2", "nnunetv2")
    assert made.hide(made.hide(text)) == made.hide(text)


def test_two_names_of_one_key_keep_their_own_aliases() -> None:
    made = aliases(("class", "cat"), ("class", "Cat"), ("class", "left_ear"), ("class", "Left Ear"))
    assert made.hide("cat Cat CAT left_ear Left Ear leftEar") == "class_A class_B class_A class_C class_D class_C"


def test_words_in_names_of_data_are_names_unless_everybody_has_them() -> None:
    names = gather(
        task="TrainHeartMRI",
        study="baseline-charite-2",
        trainer="m",
        data={"path": "/srv/scratch/KlinikNord/images/train.npz"},
        machine=Machine(),
        vocabulary=words_of(["the heart of the prompt"]),
    )
    words = {name.text for name in names if name.kind in ("dataset", "task", "study")}
    assert {"MRI", "charite", "KlinikNord", "Klinik", "Nord"} <= words
    assert not words & {"Train", "Heart", "baseline", "srv", "scratch", "images", "train"}
