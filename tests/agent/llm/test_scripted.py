"""Answers from a file: order, repeats, errors, validation, resuming, and scripts that are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.errors import LLMError, LLMRefusal, LLMRejected, LLMUnavailable, LLMUnusable, UsageError
from agent.llm.base import Message, Reply, Request, Usage
from agent.llm.config import ROLES
from agent.llm.scripted import ERRORS, InvalidReplies, Scripted, load_scripted, parse_script

SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}


def _request(role: str = "checker", schema: dict[str, Any] | None = SCHEMA) -> Request:
    return Request(role=role, system="Judge.", messages=(Message(role="user", text="Is it good?"),), schema=schema)


def _scripted(*replies: dict[str, Any], used: dict[str, int] | None = None) -> Scripted:
    return Scripted(parse_script({"replies": list(replies)}, file="script.yaml"), file="script.yaml", used=used)


def _problems(*replies: Any) -> str:
    with pytest.raises(InvalidReplies) as caught:
        parse_script({"replies": list(replies)}, file="script.yaml")
    return "\n".join(str(problem) for problem in caught.value.problems)


def test_each_role_takes_its_own_replies_in_order() -> None:
    llm = _scripted(
        {"role": "checker", "json": {"verdict": "good"}},
        {"role": "analyst", "text": "It overfits."},
        {"role": "checker", "text": 'Well: {"verdict": "bad"}', "stop": "end_turn"},
    )
    assert llm.complete(_request()).data == {"verdict": "good"}
    assert llm.complete(_request("analyst", None)).text == "It overfits."
    reply = llm.complete(_request())
    assert (reply.data, reply.text, reply.stop) == ({"verdict": "bad"}, 'Well: {"verdict": "bad"}', "end_turn")
    assert (reply.provider, reply.model) == (llm.provider, llm.model) == ("scripted", "scripted")
    assert Reply.from_json(json.loads(json.dumps(reply.to_json()))) == reply
    assert llm.used == {"checker": 2, "analyst": 1}


def test_repeats_and_the_end_of_a_script() -> None:
    llm = _scripted(
        {"role": "checker", "json": {"verdict": "good"}, "repeat": 2}, {"role": "checker", "json": {"verdict": "bad"}}
    )
    assert [llm.complete(_request()).data["verdict"] for _ in range(3)] == ["good", "good", "bad"]
    for _ in range(2):
        with pytest.raises(LLMUnavailable, match=r"script\.yaml: no reply is left for checker: it has 3"):
            llm.complete(_request())
    with pytest.raises(LLMUnavailable, match="no reply is left for autotuner: it has 0"):
        llm.complete(_request("autotuner"))


def test_a_later_process_goes_on_where_the_earlier_one_stopped() -> None:
    replies = [{"role": "checker", "text": str(number), "repeat": 1 + number % 2} for number in range(4)]
    whole = _scripted(*replies)
    texts = [whole.complete(_request(schema=None)).text for _ in range(6)]
    assert texts == ["0", "1", "1", "2", "3", "3"]
    for stopped in range(6):
        later = _scripted(*replies, used={"checker": stopped})
        assert later.complete(_request(schema=None)).text == texts[stopped]


@pytest.mark.parametrize(("name", "kind"), ERRORS.items())
def test_an_error_is_raised_as_the_script_says(name: str, kind: type[LLMError]) -> None:
    llm = _scripted(
        {"role": "checker", "error": name, "message": "as planned"},
        {"role": "checker", "error": name, "usage": {"input_tokens": 7}},
        {"role": "checker", "json": {"verdict": "good"}},
    )
    with pytest.raises(kind, match="as planned") as caught:
        llm.complete(_request())
    assert type(caught.value) is kind and caught.value.reply is None
    with pytest.raises(kind) as caught:
        llm.complete(_request())
    assert caught.value.reply.usage == Usage(input_tokens=7)
    assert llm.complete(_request()).data == {"verdict": "good"}


def test_the_errors_are_those_an_endpoint_can_have() -> None:
    assert set(ERRORS.values()) == {LLMUnavailable, LLMRejected, LLMRefusal, LLMUnusable}


@pytest.mark.parametrize(
    "reply",
    [{"json": {"verdict": "maybe"}}, {"json": None}, {"text": ""}, {"text": '{"verdict": "go'}, {"json": [1, 2]}],
)
def test_an_answer_is_judged_like_a_real_one(reply: dict[str, Any]) -> None:
    with pytest.raises(LLMUnusable) as caught:
        _scripted({"role": "checker", "usage": {"output_tokens": 9}, **reply}).complete(_request())
    assert caught.value.problems and caught.value.reply.usage.output_tokens == 9
    assert caught.value.reply.data is None


def test_usage_is_given_or_estimated_the_same_each_time() -> None:
    estimates = {_scripted({"role": "checker", "json": {"verdict": "good"}}).complete(_request()).usage for _ in "ab"}
    (usage,) = estimates
    assert usage.input_tokens > 0 and usage.output_tokens > 0
    given = {"input_tokens": 10, "cached_tokens": 4, "output_tokens": 2, "searches": 1}
    assert _scripted({"role": "checker", "json": {"verdict": "bad"}, "usage": given}).complete(
        _request()
    ).usage == Usage(**given)


def test_a_researcher_may_cite() -> None:
    pages = [{"url": "https://example.org/a", "title": "A"}, {"url": "https://example.org/b"}]
    reply = _scripted({"role": "researcher", "text": "Try less.", "citations": pages}).complete(
        _request("researcher", None)
    )
    assert [(page.url, page.title) for page in reply.citations] == [(p["url"], p.get("title", "")) for p in pages]


@pytest.mark.parametrize("name", ["script.yaml", "script.json"])
def test_a_script_is_read_from_yaml_or_json(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(json.dumps({"replies": [{"role": "checker", "json": {"verdict": "good"}}]}), encoding="utf-8")
    assert load_scripted(path).complete(_request()).data == {"verdict": "good"}
    with pytest.raises(LLMUnavailable, match=name):
        load_scripted(path, used={"checker": 1}).complete(_request())


def test_every_problem_of_a_script_is_listed_at_once() -> None:
    text = _problems(
        {"role": "chekcer", "json": {}},
        {"role": "checker"},
        {"role": "checker", "json": {}, "text": "x"},
        {"role": "checker", "error": "LLMRefused"},
        {"role": "checker", "text": 5},
        {"role": "checker", "text": "x", "message": "y", "reapeat": 2},
        {"role": "checker", "text": "x", "repeat": 0},
        {"role": "checker", "text": "x", "usage": {"tokens": 5, "input_tokens": -1}},
        {"role": "checker", "text": "x", "usage": {"input_tokens": 1, "cached_tokens": 2}},
        {"role": "checker", "text": "x", "citations": [{"title": "no address"}]},
        "checker",
    )
    for said in (
        "script.yaml: replies[0].role = 'chekcer': did you mean checker? must be one of " + ", ".join(ROLES),
        "replies[1].json: must have exactly one of json, text, error; it has none",
        "replies[2].json: must have exactly one of json, text, error; it has json and text",
        "replies[3].error = 'LLMRefused': did you mean LLMRefusal? must be one of " + ", ".join(ERRORS),
        "replies[4].text = 5: must be a text",
        "replies[5].message = 'y': belongs to an error",
        "replies[5].reapeat: unknown key; did you mean repeat?",
        "replies[6].repeat = 0",
        "replies[7].usage.tokens: unknown key",
        "replies[7].usage.input_tokens = -1",
        "replies[8].usage.input_tokens = 1: must hold the cached",
        "replies[9].citations[0].url: missing",
        "replies[10] = 'checker': must be a mapping",
    ):
        assert said in text, said


@pytest.mark.parametrize("raw", [{}, {"replies": []}, {"replies": {}}, {"reply": []}])
def test_a_file_of_another_shape_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(InvalidReplies, match=r"script\.yaml: replies"):
        parse_script(raw, file="script.yaml")


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml"):
        load_scripted(tmp_path / "none.yaml")


def test_it_works_without_the_llm_extra(tmp_path: Path) -> None:
    path = tmp_path / "script.yaml"
    path.write_text("replies:\n- {role: checker, json: {verdict: good}}\n", encoding="utf-8")
    program = f"""
import sys
for name in ("anthropic", "openai", "httpx", "dotenv"):
    sys.modules[name] = None
from pathlib import Path
from agent.llm.base import Message, Request
from agent.llm.scripted import load_scripted
request = Request(role="checker", system="", messages=(Message(role="user", text="?"),), schema={SCHEMA!r})
print(load_scripted(Path({str(path)!r})).complete(request).data)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "{'verdict': 'good'}", done.stderr
