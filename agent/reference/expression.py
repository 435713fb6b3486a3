"""Conditions and constraints: a small expression language, evaluated without `eval`.

The text is parsed by `ast` and walked against an allowlist, so a reference written by a stranger can compute
nothing but arithmetic and comparisons of its own parameters, in bounded time and memory.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from agent.errors import UsageError

Value = str | int | float | bool
Number = int | float

MAX_CHARACTERS = 500
MAX_DEPTH = 32
# Above this a double overflows soon; it also bounds the size of Python's unlimited integers.
LARGEST = 10**300
MAX_EXPONENT = 1024

FUNCTIONS = ("abs", "max", "min")
ALLOWED = (
    "parameter names, numbers, 'texts', True, False, and, or, not, comparisons, in (a, b), "
    "+ - * / // % **, min(), max(), abs()"
)


class ExpressionError(UsageError):
    """An expression that is refused or cannot be evaluated; names the expression and the piece at fault."""

    def __init__(self, text: str, piece: str, message: str) -> None:
        self.text, self.piece = text, piece
        named = f"{_shorten(piece)!r} " if piece and piece != text else ""
        super().__init__(f"expression {_shorten(text)!r}: {named}{message}")


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A parsed expression. Two are equal when their texts are."""

    text: str
    names: frozenset[str] = field(compare=False)
    """Parameters that it reads."""
    literals: tuple[tuple[str, Value], ...] = field(compare=False)
    """(parameter, literal) for every literal that a parameter is compared with by ==, !=, in or not in."""
    bounds: tuple[tuple[str, Value], ...] = field(compare=False)
    """(parameter, literal) for every literal that a parameter is compared with by <, <=, > or >=."""
    tree: ast.expr = field(compare=False, repr=False)

    def evaluate(self, values: Mapping[str, Value]) -> Value:
        """The expression's value. Raises ExpressionError: missing name, wrong types, division by zero, too large."""
        return _Evaluation(self.text, values).value(self.tree)

    def holds(self, values: Mapping[str, Value]) -> bool:
        """The value of an expression that must be true or false. Raises ExpressionError as `evaluate` does."""
        result = self.evaluate(values)
        if not isinstance(result, bool):
            raise ExpressionError(self.text, "", f"gives {result!r}; it must be true or false, such as x > 0")
        return result


def parse_expression(text: str, names: Collection[str]) -> Expression:
    """Parse `text`, in which only `names` may occur. Raises ExpressionError."""
    text = text.strip()
    if not text:
        raise ExpressionError(text, "", f"is empty; allowed: {ALLOWED}")
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(text, "", f"has {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
    try:
        with warnings.catch_warnings():  # an odd escape or "1if" warns while parsing; it is judged below
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(text, "", f"is not an expression ({error.msg}); allowed: {ALLOWED}") from None
    except (
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # null bytes, surrogates, thousands of brackets
        raise ExpressionError(text, "", f"cannot be read ({error})") from None
    check = _Check(text, names)
    check.visit(tree, 1)
    return Expression(
        text=text, names=frozenset(check.found), literals=tuple(check.literals), bounds=tuple(check.bounds), tree=tree
    )


def equal(left: Value, right: Value) -> bool:
    """Equality as JSON has it: true is not 1, and 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left == right


def literal(node: ast.expr) -> Value | None:
    """The value of a literal node (a negative number included), else None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = literal(node.operand)
        return None if value is None or isinstance(value, bool | str) else -value
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
        return node.value
    return None


class _Check:
    """Walks a tree once, refuses what is not allowed, and gathers the names and compared literals."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.text, self.names = text, names
        self.found: set[str] = set()
        self.literals: list[tuple[str, Value]] = []
        self.bounds: list[tuple[str, Value]] = []

    def refuse(self, node: ast.AST, message: str) -> NoReturn:
        raise ExpressionError(self.text, ast.get_source_segment(self.text, node) or "", message)

    def visit(self, node: ast.expr, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.refuse(node, f"is nested more than {MAX_DEPTH} deep")
        children: list[ast.expr] = []
        match node:
            case ast.Constant():
                self.constant(node)
            case ast.Name(id=name):
                self.name(node, name)
            case ast.BoolOp(values=operands):
                children = operands
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
                children = [operand]
            case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
                children = [node.left, node.right]
            case ast.Compare():
                children = self.comparison(node)
            case ast.Call():
                children = self.call(node)
            case _:
                self.refuse(node, f"is not allowed; allowed: {ALLOWED}")
        for child in children:
            self.visit(child, depth + 1)

    def constant(self, node: ast.Constant) -> None:
        if literal(node) is None:
            self.refuse(node, "is not allowed; literals are numbers, texts, True and False")
        if isinstance(node.value, int | float) and not abs(node.value) <= LARGEST:
            self.refuse(node, "is too large")

    def name(self, node: ast.AST, name: str) -> None:
        if name in FUNCTIONS:
            self.refuse(node, f"is a function; write {name}(...)")
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            self.refuse(node, f"is not a parameter; a text needs quotes; parameters: {known}")
        self.found.add(name)

    def call(self, node: ast.Call) -> list[ast.expr]:
        function = node.func.id if isinstance(node.func, ast.Name) else ""
        if function not in FUNCTIONS:
            self.refuse(node, f"calls something else than {', '.join(FUNCTIONS)}")
        wanted = "one argument" if function == "abs" else "two or more arguments"
        if node.keywords or (len(node.args) != 1 if function == "abs" else len(node.args) < 2):
            self.refuse(node, f"needs {wanted}")
        return node.args

    def comparison(self, node: ast.Compare) -> list[ast.expr]:
        """The operands that are expressions themselves; the list after `in` is checked here."""
        children = [node.left]
        left: ast.expr = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.Is | ast.IsNot):
                self.refuse(node, "uses 'is'; write == or !=")
            if isinstance(op, ast.In | ast.NotIn):
                if right is not node.comparators[-1]:
                    self.refuse(node, "compares a list; join two comparisons by 'and'")
                self.membership(left, right)
            else:
                children.append(right)
                found = self.literals if isinstance(op, ast.Eq | ast.NotEq) else self.bounds
                self.compared(left, right, found)
                self.compared(right, left, found)
            left = right
        return children

    def membership(self, left: ast.expr, right: ast.expr) -> None:
        if not isinstance(right, ast.Tuple | ast.List):
            self.refuse(right, "cannot follow 'in'; write a list of literals such as ('a', 'b')")
        for element in right.elts:
            if literal(element) is None:
                self.refuse(element, "is not a literal; lists hold numbers, texts, True and False")
            self.compared(left, element, self.literals)

    def compared(self, one: ast.expr, other: ast.expr, found: list[tuple[str, Value]]) -> None:
        value = literal(other)
        if isinstance(one, ast.Name) and value is not None:
            found.append((one.id, value))


class _Evaluation:
    """One evaluation of a checked tree."""

    def __init__(self, text: str, values: Mapping[str, Value]) -> None:
        self.text, self.values = text, values

    def fail(self, node: ast.AST, message: str) -> NoReturn:
        raise ExpressionError(self.text, ast.get_source_segment(self.text, node) or "", message)

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Name(id=name):
                if name not in self.values:
                    self.fail(node, "has no value here")
                return self.values[name]
            case ast.BoolOp(op=op, values=operands):
                wanted = isinstance(op, ast.Or)
                return wanted if any(self.truth(o) is wanted for o in operands) else not wanted
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self.truth(operand)
            case ast.UnaryOp(operand=operand):
                return -self.number(operand)
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.Compare():
                return self.compare(node)
            case ast.Call(func=ast.Name(id=name), args=args):
                numbers = [self.number(argument) for argument in args]
                return abs(numbers[0]) if name == "abs" else min(numbers) if name == "min" else max(numbers)
        value = literal(node)
        assert value is not None, "the check lets only literals through"
        return value

    def truth(self, node: ast.expr) -> bool:
        value = self.value(node)
        if not isinstance(value, bool):
            self.fail(node, f"is {value!r}; and, or, not take true or false (compare it, such as x > 0)")
        return value

    def number(self, node: ast.expr) -> Number:
        value = self.value(node)
        if isinstance(value, bool | str):
            self.fail(node, f"is {value!r}; a number is needed here")
        return value

    def compare(self, node: ast.Compare) -> bool:
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            if not self.relation(op, left, right):
                return False
            left = right
        return True

    def relation(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> bool:
        match op:
            case ast.Eq():
                return equal(self.value(left), self.value(right))
            case ast.NotEq():
                return not equal(self.value(left), self.value(right))
            case ast.In() | ast.NotIn():
                assert isinstance(right, ast.Tuple | ast.List)
                value = self.value(left)
                found = any(equal(value, self.value(element)) for element in right.elts)
                return found if isinstance(op, ast.In) else not found
        one, other = self.number(left), self.number(right)
        match op:
            case ast.Lt():
                return one < other
            case ast.LtE():
                return one <= other
            case ast.Gt():
                return one > other
        return one >= other

    def arithmetic(self, node: ast.BinOp) -> Number:
        left, right = self.number(node.left), self.number(node.right)
        if isinstance(node.op, ast.Pow):
            self.guard_power(node, left, right)
        try:
            result: Number = _ARITHMETIC[type(node.op)](left, right)
        except ZeroDivisionError:
            self.fail(node, f"divides by zero ({left!r} and {right!r})")
        except OverflowError:
            self.fail(node, f"is too large ({left!r} and {right!r})")
        if not abs(result) <= LARGEST:
            self.fail(node, f"is too large ({left!r} and {right!r})")
        return result

    def guard_power(self, node: ast.BinOp, base: Number, exponent: Number) -> None:
        """Refuse powers before they are computed: 9**9**9 would fill the memory, (-8)**0.5 is complex."""
        if base < 0 and exponent != int(exponent):
            self.fail(node, f"is a root of a negative number ({base!r} ** {exponent!r})")
        bits = abs(exponent) * abs(math.log2(abs(base))) if base else 0
        if abs(exponent) > MAX_EXPONENT or bits > MAX_EXPONENT:
            self.fail(node, f"is too large or too small a power ({base!r} ** {exponent!r})")


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
