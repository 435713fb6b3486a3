"""API keys: found in the environment or in a `.env` file, never written anywhere.

A key lives in memory only: it is no part of the configuration, of a request's record or of a message. `Secret` keeps
it out of tracebacks and logs, `redact` out of what endpoints say (some repeat the key in their error).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from agent.errors import UsageError

HIDDEN = "[key]"
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
"""Names of key variables. Upper case only, so that a key pasted in place of a name is refused."""

SHORTEST_SECRET = 8
"""A shorter key is a word that may stand in any text: it is hidden only where it stands alone."""
SHORTEST_KEY = 3
"""What is shorter is no key, and would make every text unreadable that it is hidden in."""
_EXAMPLE = re.compile(
    r"(?:your|insert|replace|optional|example)[\W_].*|.*[\W_](?:here|placeholder)|(?:change|replace)[\W_]?me"
    r"|<.*>|\[.*\]|\{.*\}|\$\w+|.*\.\.\.|.*x{4,}|xxx|\*+|todo|placeholder",
    re.IGNORECASE,
)
"""What examples of .env files have in a key's place."""
_NO_KEY = frozenset(
    {"none", "null", "empty", "no-key", "no_key", "not-needed", "not_needed", "unused", "dummy", "fake", "test"}
    | {"token", "key", "secret", "apikey", "api-key", "api_key", "ollama", "vllm", "local", "localhost", "lm-studio"}
)
"""Words given to servers that want some key and look at none. They are no secrets."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Secret:
    """A key that does not show itself: not by str, repr, a format or a dataclass that holds it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled")


@dataclass(frozen=True, kw_only=True)
class FoundKey:
    """A key and where it came from."""

    secret: Secret
    variable: str
    place: str
    """"the environment", or the .env file's path."""

    def __str__(self) -> str:
        """Where it came from, never the key."""
        return f"{self.variable} in {self.place}"


def read_dotenv(folder: Path) -> dict[str, str]:
    """The variables of `folder`/.env; empty where there is no such file. os.environ is left alone.

    Values are taken as they stand: `$NAME` in a key is part of the key. Raises UsageError when the file cannot be
    read, holds a line that is no variable, or python-dotenv is missing.
    """
    path = folder / ".env"
    if not path.is_file():
        return {}
    try:
        from dotenv.parser import parse_stream
    except ImportError as error:
        raise UsageError(
            f"{path}: python-dotenv is needed to read it: `./uvw run --extra llm ...` or "
            "`pip install 'roundtable[llm]'`; or move the file away and export the variables"
        ) from error
    try:
        # utf-8-sig: an editor's byte order mark would become part of the first variable's name.
        lines = list(parse_stream(StringIO(path.read_text(encoding="utf-8-sig"))))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from error
    for line in lines:
        # A name alone is legal, as for docker; a key alone is a slip.
        if line.error or (line.key is not None and line.value is None and not _NAME.fullmatch(line.key)):
            # What the parser calls the line begins with the blank ones before it. Not shown: it may be a key.
            text = line.original.string
            number = line.original.line + text[: len(text) - len(text.lstrip())].count("\n")
            raise UsageError(f"{path} line {number}: not NAME=value; mend or remove it")
    return {line.key: line.value for line in lines if line.key is not None and line.value is not None}


def role_variable(role: str) -> str:
    """The variable that holds a key for one role only: ROUNDTABLE_AUTOTUNER_API_KEY."""
    return f"ROUNDTABLE_{role.upper()}_API_KEY"


def variables_for(role: str, key_env: str | None, provider_variables: Sequence[str]) -> tuple[str, ...]:
    """The variables that are looked for, in this order: the role's, then the person's, or without one the provider's.

    Who names one does not mean another: the provider's own may hold somebody else's key.
    """
    return tuple(dict.fromkeys((role_variable(role), *((key_env,) if key_env else provider_variables))))


def find_key(
    variables: Sequence[str], environment: Mapping[str, str], dotenv: Mapping[str, str], *, dotenv_path: str = ".env"
) -> FoundKey | None:
    """The first of `variables` that is set; each is looked for in the environment, then in the .env file.

    An empty or blank variable counts as not set. Raises UsageError for a value that cannot be a key, without showing
    it.
    """
    for variable in variables:
        for values, place in ((environment, "the environment"), (dotenv, dotenv_path)):
            if (value := values.get(variable, "")).strip():
                if problem := key_problem(value):
                    raise UsageError(f"{variable} in {place}: {problem}")
                return FoundKey(secret=Secret(value), variable=variable, place=place)
    return None


def require_key(
    variables: Sequence[str], environment: Mapping[str, str], dotenv: Mapping[str, str], *, purpose: str
) -> FoundKey:
    """`find_key`, or UsageError naming what was looked for. purpose: "role autotuner, provider openai"."""
    found = find_key(variables, environment, dotenv)
    if found is None:
        blank = [
            f"{name} in {place} is {'blank' if values[name] else 'empty'}"
            for name in variables
            for values, place in ((environment, "the environment"), (dotenv, ".env"))
            if name in values
        ]
        said = f" ({'; '.join(blank)})" if blank else ""
        raise UsageError(
            f"{purpose}: no API key. Looked for {', '.join(variables)} in the environment and in .env of the current "
            f"folder{said}. Set one of them; a key is never written to the study"
        )
    return found


def key_problem(value: str) -> str:
    """What keeps a text from being a key; "" where nothing does. Never shows the text."""
    if value != value.strip():
        return "begins or ends with white space or a line break; remove it"
    if value[:1] in "\"'" or value[-1:] in "\"'":
        return "is in quotes; remove them"
    if not value.isascii():
        return "holds a character that is not ASCII; copy the key again"
    if any(letter.isspace() or not letter.isprintable() for letter in value):
        return "holds white space or a control character; copy the key again"
    if _EXAMPLE.fullmatch(value):
        return "holds an example's words in place of a key (such as your_key); put the key there, or remove the line"
    return ""


def is_no_secret(value: str) -> bool:
    """Whether a key is one of the words that are given to servers which want any ("EMPTY", "none", "ollama")."""
    return value.casefold() in _NO_KEY


def known_secrets(
    variables: Iterable[str], environment: Mapping[str, str], dotenv: Mapping[str, str]
) -> tuple[str, ...]:
    """Every value of these variables, and of ROUNDTABLE_..._API_KEY, in either place: what `redact` must hide."""
    wanted = set(variables)
    found = {
        value.strip()
        for values in (environment, dotenv)
        for name, value in values.items()
        if name in wanted or (name.startswith("ROUNDTABLE_") and name.endswith("_API_KEY"))
    }
    return tuple(sorted(found - {""}))


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every occurrence of a secret, also URL- or JSON-escaped, replaced by "[key]".

    One of fewer than 8 characters only where it stands alone, no part of a longer word or name. Words that are no
    secrets (`is_no_secret`) and what is shorter than any key stay.
    """
    # The longest first: one key may be the beginning of another.
    for secret in sorted(set(secrets) - {""}, key=len, reverse=True):
        if len(secret) < SHORTEST_KEY or is_no_secret(secret):
            continue
        pattern = "".join(map(_escaped, secret))
        if len(secret) < SHORTEST_SECRET:
            pattern = rf"(?<![\w.-]){pattern}(?![\w-])"
        text = re.sub(pattern, HIDDEN, text)
    return text


def _escaped(letter: str) -> str:
    """A pattern for one character as it stands, percent-encoded, or escaped as in JSON (once or twice)."""
    code = f"{ord(letter):02x}"
    digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in code)
    plain = re.escape(letter) if letter.isalnum() else rf"\\{{0,3}}{re.escape(letter)}"
    return rf"(?:{plain}|%{digits}|\\{{1,2}}u00{digits})"
