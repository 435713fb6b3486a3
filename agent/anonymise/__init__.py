"""Anonymisation: what is sent to a language model tells neither data nor model, neither person nor machine."""

from agent.anonymise.aliases import UNNAMED, Aliases, NoAliases
from agent.anonymise.gather import Machine, gather, own_words, this_machine
from agent.anonymise.spelled import words_of
from agent.anonymise.table import KINDS, Name, from_json
from agent.anonymise.written import in_json

__all__ = [
    "KINDS",
    "UNNAMED",
    "Aliases",
    "Machine",
    "Name",
    "NoAliases",
    "from_json",
    "gather",
    "in_json",
    "own_words",
    "this_machine",
    "words_of",
]
