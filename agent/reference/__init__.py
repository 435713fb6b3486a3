"""The hyperparameter reference: a study's space, its present values, and the rules between them.

Pure: files are read here, never written. Standard library only.
"""

from agent.reference.diff import Change, describe, diff
from agent.reference.expression import Expression, ExpressionError, Value, parse_expression
from agent.reference.identity import canonical, config_key
from agent.reference.jsontext import read_json
from agent.reference.migrate import is_old, migrated
from agent.reference.model import Constraint, Objective, Parameter, RecordedChange, Reference
from agent.reference.parse import check_reference, load_reference, parse_reference
from agent.reference.proposal import check_values
from agent.reference.rewrite import Successor, as_successor, for_study, successor, with_values
from agent.reference.schema import json_schema

__all__ = [
    "Change",
    "Constraint",
    "Expression",
    "ExpressionError",
    "Objective",
    "Parameter",
    "RecordedChange",
    "Reference",
    "Successor",
    "Value",
    "as_successor",
    "canonical",
    "check_reference",
    "check_values",
    "config_key",
    "describe",
    "diff",
    "for_study",
    "is_old",
    "json_schema",
    "load_reference",
    "migrated",
    "parse_expression",
    "parse_reference",
    "read_json",
    "successor",
    "with_values",
]
