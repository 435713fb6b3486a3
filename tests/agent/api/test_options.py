"""What a Python caller can get wrong is answered with the field, the value and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.api.options import TuneOptions
from agent.errors import UsageError

COUNTS = ("max_rounds", "max_iterations", "candidates", "epochs", "parallel", "force_round", "confirm_seeds")
PATHS = ("output_dir", "hp_ref", "profile", "val_summary", "test_summary")


def options(**changes: Any) -> TuneOptions:
    return TuneOptions(**({"task": "digits"} | changes))


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3"])
def test_a_count_is_a_whole_number_from_1(name: str, value: object) -> None:
    with pytest.raises(UsageError) as error:
        options(**{name: value})
    assert str(error.value) == f"{name} = {value!r}: must be a whole number from 1"
    assert getattr(options(**{name: 1}), name) == 1


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("launcher", "pbs", "submitit, sbatch, local"),
        ("launcher", ["local"], "submitit, sbatch, local"),
        ("confirm", "always", "final, round, never"),
        ("replicates", 1, "a whole number from 2"),
        ("provider", "claude", "none, anthropic, openai, deepseek"),
        ("proposer", "gpt", "bayes, gp, llm, panel, hybrid"),
        ("search_provider", "bing", "none, anthropic, openai, gemini, google"),
        ("llm_share", 1.5, "share above 0 and at most 1"),
        ("llm_share", 0, "share above 0"),
        ("max_llm_cost", -1, "dollars above 0"),
        ("max_llm_tokens", 1.5, "whole number from 1"),
        ("anonymize", "no", "True or False"),
        ("model", "", "text"),
        ("role_models", ["gpt"], "a mapping"),
        ("prompts", 3, "a path"),
        ("seed", -1, "whole number from 0"),
        ("seed", True, "whole number from 0"),
        ("folds", "01", "a tuple of different whole numbers"),
        ("folds", (), "a tuple of different whole numbers"),
        ("folds", (0, 0), "a tuple of different whole numbers"),
        ("folds", 3, "a tuple of different whole numbers"),
        ("seeds", (0, 1.5), "a tuple of different whole numbers"),
        ("seeds", (True,), "a tuple of different whole numbers"),
        ("gpus", "0", "a tuple of different texts"),
        ("gpus", (0, 1), "a tuple of different texts"),
        ("tune_names", "all", "a tuple of different texts"),
        ("slurm", "yes", "True or False"),
        ("auto_train", None, "True or False"),
        ("use_test", 1, "True or False"),
        ("poll_s", 0, "seconds above 0"),
        ("poll_s", float("nan"), "seconds above 0"),
        ("poll_s", float("inf"), "seconds above 0"),
        ("task", "", "text"),
        ("trainer", 9, "text"),
        ("output_dir", None, "a path"),
        ("hp_ref", 3, "a path"),
        ("profile", "", "a path"),
        ("data", "path=x", "a mapping"),
        ("data", {"limit": None}, "a str, bool, int or finite float"),
        ("data", {"limit": [1]}, "a str, bool, int or finite float"),
        ("data", {"limit": float("nan")}, "a str, bool, int or finite float"),
        ("data", {1: 2}, "a name"),
    ],
)
def test_the_message_names_field_value_and_what_is_allowed(name: str, value: object, allowed: str) -> None:
    with pytest.raises(UsageError) as error:
        options(**{name: value})
    message = str(error.value)
    assert message.startswith(name)
    assert allowed in message
    shown = next(iter(value.values())) if isinstance(value, dict) else value
    assert repr(shown) in message


def test_rounds_are_counted_one_way() -> None:
    with pytest.raises(UsageError, match=r"max_rounds = 1 and max_iterations = 2: give one"):
        options(max_rounds=1, max_iterations=2)


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(UsageError) as error:
        options(launcher="pbs", candidates=0, data={"x": None})
    assert [line.split()[0] for line in str(error.value).splitlines()] == ["candidates", "launcher", "data['x']"]


@pytest.mark.parametrize("name", PATHS)
def test_a_path_may_be_given_as_text(name: str) -> None:
    assert getattr(options(**{name: "some/where"}), name) == Path("some/where")
    assert getattr(options(**{name: Path("some/where")}), name) == Path("some/where")


def test_a_list_becomes_a_tuple() -> None:
    made = options(folds=[0, 1], seeds=[2], gpus=["0"], tune_names=["all"])
    assert (made.folds, made.seeds, made.gpus, made.tune_names) == ((0, 1), (2,), ("0",), ("all",))


def test_every_field_is_judged() -> None:
    """A field that is added later must be judged too: an object is right for none of them."""
    for name in TuneOptions.__dataclass_fields__:
        with pytest.raises(UsageError, match=rf"^{name} = "):
            options(**{name: object()})
