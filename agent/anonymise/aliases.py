"""Stable aliases for names that must not leave this machine, and the way back.

Nothing that is sent tells what the data is, who trains or where: names become `dataset_A`, `class_C`, `user_A`. An
answer's aliases become names again before anybody acts on it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.anonymise.places import path_goes_on, replace_emails, replace_paths, replace_quoted_paths
from agent.anonymise.tokens import Tokens, fold, is_word
from agent.errors import UsageError

KINDS = ("dataset", "model", "task", "study", "class", "path", "user", "host", "value")

#: What stands for a path, a user or a host that nobody registered; it has no way back.
UNNAMED = {kind: f"{kind}_unnamed" for kind in ("path", "user", "host")}

#: Shorter names are only whole words; from here on also parts of words joined by `_` (cifar10_train).
JOINED_FROM = 4

_ALIAS = re.compile(rf"({'|'.join(KINDS)})_[A-Z]+")
_STRUCTURE = re.compile(r"[/\\~:@$]")
_END = ""


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


def is_plain_value(text: str) -> bool:
    """Whether a name is also a number or a literal ("3", "1e-3", "nan", "true"), which texts are full of."""
    if text.strip().casefold() in ("true", "false", "none", "null"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


class Aliases:
    """Two-way table of names and aliases.

    **hide** replaces every registered name where it stands as a whole token: no letter, digit, combining mark or `_`
    of any script beside it; names of four characters and more also between `_`. Case and Unicode normal form do not
    matter, the longest name wins, and what is in `keep` (parameter names) stays. Whatever looks like an absolute path
    or an e-mail address goes too, registered or not; the rest of a path goes with its known beginning. It is
    idempotent and linear in the text.

    **Numbers** are the exception: a class called "3" (or "nan", "true", or like a parameter) is not replaced by
    `hide`, which would destroy every 3 in a text. A text that means the class says so: `class "3"` (`in_text`), which
    `hide` replaces, and which `reveal` writes.

    **reveal** puts the registered text back, in its registered spelling. An alias that a foreign text (a log) already
    held cannot be told from ours once it is hidden: since hiding twice must change nothing, it stays, and is
    revealed as the name it stands for. That never sends a name out; it can only show the person a name of theirs in a
    wrong place, so `lookalikes` finds such aliases beforehand, for a warning.
    """

    def __init__(self, table: Sequence[tuple[str, Name]], keep: Collection[str]) -> None:
        """Use `Aliases.of`. table: alias -> name, in the order of registration."""
        self._table = {alias: name.text for alias, name in table}
        self._real = {fold(alias): name.text for alias, name in table}
        self._keep = {fold(text) for text in keep}
        self._in_text = {fold(alias): self._shown(name) for alias, name in table}
        self._own = {fold(alias): alias for alias in (*self._table, *UNNAMED.values())}
        self._spelled: dict[str, dict[str, str]] = {}
        for alias, name in table:
            for text in (name.text, *name.spellings):
                self._spelled.setdefault(fold(text), {}).setdefault(text, alias)
        for alias, name in table:
            if (shown := self._shown(name)) != name.text:
                self._spelled.setdefault(fold(shown), {}).setdefault(shown, alias)
        self._default = {folded: next(iter(spelled.values())) for folded, spelled in self._spelled.items()}
        hidden = [text for text in self._spelled if not is_plain_value(text) and text not in self._keep]
        self._names = _trie([*hidden, *self._keep])
        structured = [text for text in hidden if _STRUCTURE.search(text)]
        self._structured = _trie(structured) if structured else None

    @classmethod
    def of(
        cls,
        names: Sequence[Name],
        *,
        keep: Collection[str] = (),
        known: Mapping[str, str] | None = None,
        values: Collection[str] = (),
    ) -> Aliases:
        """The same names in the same order get the same aliases; those of `known` keep theirs.

        keep: parameter names, never replaced. known: an earlier table (`to_json`), which is only extended; except
        that an alias which now collides with a name or a parameter is given up for another. values: choices of
        categorical parameters, which must come back letter by letter: where hiding and revealing would not give
        that, the choice as a whole gets an alias of its own.
        Raises UsageError for an earlier table that is none.
        """
        known = from_json(known or {})
        wanted = [_known_name(alias, text, names) for alias, text in known.items()] + list(names)
        made = cls(_assign(wanted, keep, known), keep)
        kept = {fold(text) for text in keep}
        bent = [
            value
            for value in dict.fromkeys(values)
            if fold(value) not in kept and made.reveal_json(made.hide(value)) != value
        ]
        if bent:
            wanted += [Name(kind="value", text=value) for value in bent]
            made = cls(_assign(wanted, keep, known), keep)
        return made

    def to_json(self) -> dict[str, str]:
        """alias -> registered text."""
        return dict(self._table)

    def hide(self, text: str) -> str:
        """The text with aliases in place of names, paths and e-mail addresses."""
        hidden = self._hidden(text)
        # An alias may leave something behind that only now looks like a path: "C++/;" with a class named ";".
        while hidden != text:
            text, hidden = hidden, self._hidden(hidden)
        return hidden

    def _hidden(self, text: str) -> str:
        text = replace_quoted_paths(text, self._path)
        if self._structured is not None:
            text = self._replace(text, self._structured)
        text = replace_paths(text, self._path)
        text = replace_emails(text, self._email)
        return self._replace(text, self._names)

    def reveal(self, text: str) -> str:
        """The text with registered names in place of aliases; of a class whose name is a number, `class "3"`."""
        if "_" not in text:
            return text
        tokens = self._tokens(text)
        found = (
            (begin, begin + len(token), self._in_text[token])
            for place, token in enumerate(tokens.texts)
            if token in self._in_text and (begin := tokens.begin(place)) is not None
        )
        return _spliced(text, found)

    def lookalikes(self, text: str) -> list[str]:
        """Aliases that stand in a text which was never hidden, sorted."""
        return (
            sorted({self._own[token] for token in self._tokens(text).texts if token in self._own})
            if "_" in text
            else []
        )

    def in_text(self, name: str) -> str:
        """A class's name as a text has to write it for `hide` to find it: as it is, or `class "3"`.

        Raises ValueError where it is not registered.
        """
        alias = self._default.get(fold(name))
        if alias is None:
            raise ValueError(f"the class {name!r} is not registered: gather class names before they are shown")
        return f'class "{name}"' if self._is_shielded(name) else name

    def _is_shielded(self, text: str) -> bool:
        """Whether `hide` leaves a name alone where it stands in a text by itself."""
        return is_plain_value(text) or fold(text) in self._keep

    def _shown(self, name: Name) -> str:
        """A name as `reveal` writes it. Only classes are spoken of by such names: all numbers here are taken for one,
        a study called "3" too, whose alias no text ever holds otherwise."""
        shielded = is_plain_value(name.text) or (name.kind == "class" and self._is_shielded(name.text))
        return f'class "{name.text}"' if shielded else name.text

    def reveal_json(self, value: Any) -> Any:
        """JSON with every string value revealed. Keys stay: they are property names. A string that is an alias and
        nothing else (a choice) becomes exactly the name."""
        if isinstance(value, str):
            return self._real.get(fold(value)) or self.reveal(value)
        if isinstance(value, Mapping):
            return {key: self.reveal_json(entry) for key, entry in value.items()}
        if isinstance(value, Sequence):
            return [self.reveal_json(entry) for entry in value]
        return value

    def hide_json(self, schema: Any) -> Any:
        """A JSON Schema with hidden enum, const, default and examples. Property names stay, and so do descriptions
        and titles, which are our own words: who puts another's text into one hides it there.

        Raises ValueError for a choice that would not come back as it was: it belongs into `values` of `of`.
        """
        if isinstance(schema, Mapping):
            return {key: self._hide_keyword(key, value) for key, value in schema.items()}
        if isinstance(schema, Sequence) and not isinstance(schema, str):
            return [self.hide_json(entry) for entry in schema]
        return schema

    def _hide_keyword(self, key: str, value: Any) -> Any:
        if key in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
            return {name: self.hide_json(entry) for name, entry in value.items()}
        if key in ("enum", "const", "default", "examples"):
            return self._hide_choice(value)
        return self.hide_json(value)

    def _hide_choice(self, value: Any) -> Any:
        if isinstance(value, str):
            hidden = self.hide(value)
            if self.reveal_json(hidden) != value:
                raise ValueError(f"the choice {value!r} cannot be anonymised and restored: register it as a value")
            return hidden
        if isinstance(value, Mapping):
            return {key: self._hide_choice(entry) for key, entry in value.items()}
        if isinstance(value, Sequence):
            return [self._hide_choice(entry) for entry in value]
        return value

    def _alias(self, text: str) -> str | None:
        return None if self._is_shielded(text) else self._default.get(fold(text))

    def _path(self, path: str, scheme: str) -> str | None:
        if scheme.lower() in ("http", "https") and scheme.lower() not in self._default:
            return None  # a public page; names in it are replaced like anywhere else
        return None if fold(path.strip("/")) in self._keep else self._alias(path) or UNNAMED["path"]

    def _email(self, user: str, host: str) -> str | None:
        parts = {"user": user, "host": host}
        hidden = {
            kind: text if fold(text) in self._own else self._alias(text) or UNNAMED[kind]
            for kind, text in parts.items()
        }
        registered = any((self._alias(text) or "").startswith(("user_", "host_")) for text in parts.values())
        last = host.rpartition(".")[2]
        if not registered and not ("." in host and len(last) > 1 and last.isalpha()):
            return None
        return f"{hidden['user']}@{hidden['host']}"

    def _tokens(self, text: str) -> Tokens:
        """Tokens in which every alias of ours is one, so that no name can begin or end inside of it."""
        tokens = Tokens(text)
        if "_" in tokens.texts:
            merged: list[str] = []
            for token in tokens.texts:
                if len(merged) > 1 and merged[-1] == "_" and f"{merged[-2]}_{token}" in self._own:
                    merged[-2:] = [f"{merged[-2]}_{token}"]
                else:
                    merged.append(token)
            tokens.texts = merged
        return tokens

    def _replace(self, text: str, trie: dict[str, Any]) -> str:
        return _spliced(text, self._found(text, trie))

    def _found(self, text: str, trie: dict[str, Any]) -> Iterator[tuple[int, int, str]]:
        """(offset, offset of the end, alias), from left to right, the longest first."""
        tokens = self._tokens(text)
        after, glued = 0, False
        for place, token in enumerate(tokens.texts):
            if place < after or token not in trie:
                continue
            before = "a" if glued and place == after else tokens.texts[place - 1] if place else " "
            for last, name in _longest_first(tokens.texts, place, trie, before):
                begin, end = tokens.begin(place), tokens.begin(last)
                if begin is None or end is None:
                    continue  # inside of one character
                after, glued = last, name not in self._keep
                if glued:
                    alias = self._spelled[name].get(text[begin:end], self._default[name])
                    further = path_goes_on(text, end) if alias.startswith("path_") else end
                    if further > end:
                        after, alias = tokens.at(further), UNNAMED["path"]
                    yield begin, further, alias
                break


class NoAliases(Aliases):
    """--no-anonymize: everything is sent as it is."""

    def __init__(self) -> None:
        super().__init__((), ())

    def hide(self, text: str) -> str:
        return text

    def in_text(self, name: str) -> str:
        return name


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


def _known_name(alias: str, text: str, names: Sequence[Name]) -> Name:
    spellings = next((name.spellings for name in names if name.text == text), ())
    return Name(kind=alias.rpartition("_")[0], text=text, spellings=spellings)


def _assign(names: Iterable[Name], keep: Collection[str], known: Mapping[str, str]) -> list[tuple[str, Name]]:
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


def _trie(texts: Iterable[str]) -> dict[str, Any]:
    """Nested by token; the text itself under _END, which is no token."""
    root: dict[str, Any] = {}
    for text in texts:
        node = root
        for token in Tokens(text).texts:
            node = node.setdefault(token, {})
        node[_END] = text
    return root


def _longest_first(texts: Sequence[str], place: int, trie: dict[str, Any], before: str) -> list[tuple[int, str]]:
    """Names that begin at a token and stand whole: (token after the last, name)."""
    found = []
    node, end = trie, place
    while end < len(texts) and (deeper := node.get(texts[end])) is not None:
        node, end = deeper, end + 1
        if _END in node:
            beside = (before, texts[end] if end < len(texts) else " ")
            joined = len(node[_END]) >= JOINED_FROM
            if not any(is_word(token) and not (joined and token == "_") for token in beside):
                found.append((end, node[_END]))
    return found[::-1]


def _spliced(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """The text with each span (begin, end) replaced."""
    parts, done = [], 0
    for begin, end, new in spans:
        parts += [text[done:begin], new]
        done = end
    return "".join([*parts, text[done:]])
