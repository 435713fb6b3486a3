"""Stable aliases for names that must not leave this machine, and the way back.

Nothing that is sent tells what the data is, who trains or where: names become `dataset_A`, `class_C`, `user_A`. An
answer's aliases become names again before anybody acts on it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from agent.anonymise.places import (
    machine_family,
    path_goes_on,
    replace_emails,
    replace_nodes,
    replace_paths,
    replace_quoted_paths,
    replace_relative,
)
from agent.anonymise.spelled import Spellings, is_spelled, key, spaced
from agent.anonymise.table import KINDS, Name, assign, from_json, known_name
from agent.anonymise.tokens import Tokens, fold
from agent.anonymise.trie import longest_first, spliced, trie_of

#: What stands for a path, a user, a host or a data set that nobody registered; it has no way back.
UNNAMED = {kind: f"{kind}_unnamed" for kind in ("path", "user", "host", "dataset")}

_OWN_SHAPE = re.compile(rf"(?:{'|'.join(KINDS)})_[A-Za-z]+(?![^\W_])", re.IGNORECASE)
_OWN_END = re.compile(r"_[A-Za-z]+(?![^\W_])")
#: nnU-Net's data sets: the number tells as much as the name, and is not in any.
_NUMBERED = re.compile(
    r"(?<![^\W_])(?:task|dataset)\d{2,4}(?P<joint>_?)(?P<rest>[^\W_]*(?:[_-][^\W_]+)*)", re.IGNORECASE
)
_STRUCTURE = re.compile(r"[/\\~:@$]")


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
    matter, the longest name wins, and what is in `keep` (parameter names) stays. After that come other spellings
    (`spelled`): LEFT-VENTRICLE, leftVentricle, Charite; within a word a hyphen parts an alias from the rest. Whatever
    looks like a path, an e-mail address, a numbered data set of nnU-Net's or a node in SLURM's words goes too,
    registered or not, and so do machines called like a known one but for the number; the rest of a path goes with its
    known beginning. It is idempotent and linear in the text.

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
        # Words are written apart in texts: the rate of "learning rate" is no name where learning_rate stays.
        self._keep = {fold(text) for given in keep for text in (given, given.replace("_", " ")) if text.strip()}
        self._kept_keys = {key(text) for text in keep if is_spelled(text)}
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
        hidden = [text for text in self._spelled if not self._is_shielded(text)]
        self._names = trie_of([*hidden, *self._keep])
        loose = [
            (text, alias)
            for alias, name in table
            if name.kind not in ("path", "value")
            for text in (name.text, *name.spellings)
            if not self._is_shielded(text) and not is_plain_value(key(text))
        ]
        self._spellings = Spellings(loose, [text for text in keep if is_spelled(text)])
        self._family = machine_family(name.text for _, name in table if name.kind == "host")
        choices = {fold(name.text) for _, name in table if name.kind == "value"}
        # A name that begins or ends with a gap ("user_") would leave it behind in another spelling.
        edged = {text for text in hidden if not (text[0].isalnum() and text[-1].isalnum())}
        odd = [text for text in hidden if not is_spelled(text) or text in choices or text in edged]
        self._odd = trie_of([*odd, *self._keep]) if odd else None
        structured = [text for text in hidden if _STRUCTURE.search(text)]
        self._structured = trie_of(structured) if structured else None

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
        wanted = [known_name(alias, text, names) for alias, text in known.items()] + list(names)
        made = cls(assign(wanted, keep, known), keep)
        kept = {fold(text) for text in keep}
        bent = [
            value
            for value in dict.fromkeys(values)
            if fold(value) not in kept and made.reveal_json(made.hide(value)) != value
        ]
        if bent:
            wanted += [Name(kind="value", text=value) for value in bent]
            made = cls(assign(wanted, keep, known), keep)
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
        text = replace_relative(text, self._relative)
        text = replace_emails(text, self._email)
        # Names that are more than words first, so that no word in them is taken for another; whole numbered data sets
        # before a part of theirs; then names in any spelling, of which "heart_mri" is longer than "heart".
        text = self._replace(text, self._odd) if self._odd else text
        taken = list(self._own_spans(text))
        text = spliced(text, spaced(text, self._spellings.find(text, taken)))
        text = self._replace(text, self._names)
        text = _NUMBERED.sub(self._numbered, text)
        text = replace_nodes(
            text, lambda node: None if fold(node) in self._own else self._alias(node) or UNNAMED["host"]
        )
        if self._family is not None:
            text = self._family.sub(UNNAMED["host"], text)
        return text

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
        return spliced(text, found)

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
        kept = fold(text) in self._keep or (key(text) in self._kept_keys and is_spelled(text))
        return is_plain_value(text) or kept

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

    def _own_spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where aliases of ours stand."""
        for found in _OWN_END.finditer(text):
            begin = found.start()
            while begin and text[begin - 1].isalpha():
                begin -= 1
            if fold(text[begin : found.end()]) in self._own:
                yield begin, found.end()

    def _relative(self, parts: Sequence[str]) -> str | None:
        """Quotients of parameters and numbers are no paths."""
        if all(is_plain_value(part) or fold(part) in self._keep or part in (".", "..") for part in parts):
            return None
        return UNNAMED["path"]

    def _numbered(self, found: re.Match[str]) -> str:
        """An alias of what stands behind the number says what the data set is."""
        if fold(found[0]) in self._keep:
            return found[0]
        alias = _OWN_SHAPE.match(found["rest"])
        known = alias is not None and fold(alias[0]) in self._own and found["joint"] == "_"
        return found["rest"] if known else UNNAMED["dataset"]

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
        return spliced(text, self._found(text, trie))

    def _found(self, text: str, trie: dict[str, Any]) -> Iterator[tuple[int, int, str]]:
        """(offset, offset of the end, alias), from left to right, the longest first."""
        tokens = self._tokens(text)
        after, glued = 0, False
        for place, token in enumerate(tokens.texts):
            if place < after or token not in trie:
                continue
            before = "a" if glued and place == after else tokens.texts[place - 1] if place else " "
            for last, name in longest_first(tokens.texts, place, trie, before):
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
