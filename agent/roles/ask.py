"""What every agent is given: a way to ask a model, and prompts whose inserted values are anonymised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from agent.errors import LLMUnusable, UsageError
from agent.llm.base import Citation, Request
from agent.store.codec import FieldProblem, Record, decode

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A reply as an agent sees it: real names in place of aliases, and where the exchange is recorded."""

    call: str
    """Name of the exchange's file without .json: "003_autotuner"."""
    prompt_sha256: str
    model: str
    text: str
    data: object = None
    """The answer as JSON that its schema allows; see `read`."""
    citations: tuple[Citation, ...] = ()

    def read(self, cls: type[R]) -> R:
        """The answer as the class that its role expects (agent.roles.answers). Raises LLMUnusable for any other."""
        if isinstance(self.data, cls):
            return self.data
        try:
            return decode(cls, self.data if isinstance(self.data, Mapping) else {})
        except FieldProblem as problem:
            raise LLMUnusable([str(problem)]) from problem


class Ask(Protocol):
    """Asks the model that plays the request's role, records the exchange and charges it.

    The request's texts hold aliases already (they come from `Prompts`); its schema is anonymised here.
    """

    def __call__(self, request: Request) -> Answer:
        """Raises LLMError; its `reply` then holds aliases, as it came."""
        ...


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A rendered prompt file."""

    system: str
    user: str


class Hidden(str):
    """Text in which every foreign part is hidden already; what is left are words of ours, which may equal a name."""


class Prompts:
    """The prompt files, templates/prompts/<name>.j2: each has a block `system` and a block `user`.

    StrictUndefined: a prompt that uses what it is not given is an error, not an empty place. Every value that a
    prompt inserts goes through `hide`, unless it is `Hidden`; what the file itself says does not.
    """

    def __init__(self, folders: Sequence[Path], hide: Callable[[str], str] = str) -> None:
        """folders: searched in this order, so that a person's own file replaces the shipped one of that name."""
        self._folders = tuple(folders)
        self.hide = hide
        self._environment: Any = None

    def render(self, name: str, **values: object) -> Prompt:
        """Both blocks of a prompt file. Raises UsageError, naming file and what is wrong with it."""
        import jinja2

        try:
            template = self._made().get_template(f"{name}.j2")
            context = template.new_context(values)
            missing = [block for block in ("system", "user") if block not in template.blocks]
            if missing:
                raise UsageError(f"{template.filename}: has no block {' and no block '.join(missing)}")
            system, user = ("".join(template.blocks[block](context)).strip() for block in ("system", "user"))
        except jinja2.TemplateNotFound as error:
            there = ", ".join(map(str, self._folders))
            raise UsageError(f"{name}.j2: no such prompt in {there}") from error
        except jinja2.TemplateError as error:
            line = getattr(error, "lineno", None)
            place = f"{name}.j2" + (f": line {line}" if line else "")
            raise UsageError(f"{place}: {type(error).__name__}: {error.message}") from error
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            # A person's own file may compute: {{ 1 / 0 }}, count + "a", bytes that are no UTF-8.
            raise UsageError(f"{name}.j2: {type(error).__name__}: {error}; mend the prompt file") from error
        return Prompt(system=system, user=user)

    def _made(self) -> Any:
        if self._environment is None:
            import jinja2
            from jinja2.sandbox import SandboxedEnvironment

            # A prompt may be a file that somebody passed on: the sandbox keeps it from reaching into Python.
            self._environment = SandboxedEnvironment(
                loader=jinja2.FileSystemLoader([str(f) for f in self._folders], encoding="utf-8-sig"),
                undefined=jinja2.StrictUndefined,
                finalize=self._finalize,
                trim_blocks=True,
                lstrip_blocks=True,
                keep_trailing_newline=False,
            )
        return self._environment

    def _finalize(self, value: object) -> str:
        if isinstance(value, Hidden):
            return value
        return self.hide(value if isinstance(value, str) else str(value))


@dataclass(frozen=True, kw_only=True)
class Agents:
    """What a role's function is called with."""

    ask: Ask
    prompts: Prompts
