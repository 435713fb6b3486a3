"""Which name has which alias: given once, kept for ever."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.anonymise.tokens import Tokens, fold
from agent.errors import UsageError

KINDS = ("dataset", "model", "task", "study", "class", "path", "user", "host", "value")

_ALIAS = re.compile(rf"({'|'.join(KINDS)})_[A-Z]+")


@dataclass(frozen=True, kw_only=True)
class Name:
    """A text to be hidden. spellings: other ways to write the same; they share its alias and come back as `text`."""

    kind: str
    text: str
    spellings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}: must be one of {', '.join(KINDS)}")
        for text in (self.text, *self.spellings):
            if not text.strip():
                raise ValueError(f"a name of kind {self.kind} is empty")


def from_json(raw: object) -> dict[str, str]:
    """An alias table as read from a file. Raises UsageError for one that is none."""
    if not isinstance(raw, Mapping):
        raise UsageError("the alias table is no object of alias: text")
    for alias, text in raw.items():
        if not isinstance(alias, str) or _ALIAS.fullmatch(alias) is None:
            raise UsageError(
                f"alias table: {alias!r} is no alias: must be one of {', '.join(KINDS)}, `_` and capitals"
            )
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"alias table: {alias} = {text!r}: must be a text that is not empty")
    if len(set(raw.values())) != len(raw):
        raise UsageError("alias table: two aliases stand for the same text")
    return dict(raw)


def known_name(alias: str, text: str, names: Sequence[Name]) -> Name:
    spellings = next((name.spellings for name in names if name.text == text), ())
    return Name(kind=alias.rpartition("_")[0], text=text, spellings=spellings)


def assign(names: Iterable[Name], keep: Collection[str], known: Mapping[str, str]) -> list[tuple[str, Name]]:
    """An alias for each different text, none of which occurs in a name or a parameter's name."""
    by_text: dict[str, Name] = {}
    for name in names:
        by_text.setdefault(name.text, name)
    taken = _lookalikes([*(text for name in by_text.values() for text in (name.text, *name.spellings)), *keep])
    earlier = {text: alias for alias, text in known.items() if fold(alias) not in taken}
    used = set(earlier.values())
    fresh = {kind: (alias for alias in _counted(kind) if fold(alias) not in taken) for kind in KINDS}
    table = []
    for name in by_text.values():
        alias = earlier.get(name.text) or next(alias for alias in fresh[name.kind] if alias not in used)
        used.add(alias)
        table.append((alias, name))
    return table


def _lookalikes(texts: Iterable[str]) -> set[str]:
    """Whatever in names could be read as an alias, parts of words too: `model_a` in `model_A_big`."""
    cut = [Tokens(text).texts for text in texts]
    return {
        "".join(each)
        for tokens in cut
        for each in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if each[1] == "_"
    }


def _counted(kind: str) -> Iterator[str]:
    """kind_A ... kind_Z, kind_AA, ..."""
    number = 0
    while True:
        number += 1
        rest, letters = number, ""
        while rest:
            rest, digit = divmod(rest - 1, 26)
            letters = chr(ord("A") + digit) + letters
        yield f"{kind}_{letters}"
