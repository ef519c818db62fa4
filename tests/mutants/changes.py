# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small changes to a program, one at a time, each of which a test should notice.

Not changed are annotations, decorators, docstrings, what a setting `does` (which is the manual's), imports, assertions
and calls of `super()`. What kinds of change there are, `changed` says.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Final

_COMPARED: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COUNTED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_CALLED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
#: What is told of a change is the expression it is in, unless it is longer.
_LONG: Final = 120
_UNCHANGED: Final = {"annotation", "returns", "decorator_list", "type_comment"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A changed program. `lines` are those of the statement it is in; none if it must be there at the import."""

    file: Path
    where: str  # the class and function it is in
    was: str
    now: str
    lines: range
    code: CodeType

    @property
    def module(self) -> str:
        """Its name, as it is imported."""
        return ".".join(self.file.with_suffix("").parts)

    def __str__(self) -> str:
        return f"`{self.where}`: `{self.was}` → `{self.now}`"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands in its parent."""

    parent: ast.AST
    field: str
    index: int | None

    def put(self, node: ast.AST) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def mutants(file: Path) -> Iterator[Mutant]:
    """All the ways to change one thing in it."""
    tree = ast.parse(file.read_text())
    free = dict(_free(compile(tree, str(file.resolve()), "exec")))
    for place, node, where, lines in list(_nodes(tree, "", range(0))):
        shown = place.parent if isinstance(place.parent, ast.expr | ast.keyword) else node
        if len(_text(shown)) > _LONG:
            shown = node
        was = _text(shown)
        for new in changed(node, place):
            place.put(ast.copy_location(new, node))
            now = _text(shown if shown is not node else new)
            code = compile(ast.fix_missing_locations(tree), str(file.resolve()), "exec")
            alike = all(free.get(name) == names for name, names in _free(code))
            yield Mutant(file=file, where=where, was=was, now=now, lines=lines if alike else range(0), code=code)
            place.put(node)


def _free(code: CodeType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The functions in it, and what each takes from the one around it: one that lives cannot be given more or less."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if not inner.co_name.startswith("<"):
                yield inner.co_qualname, inner.co_freevars
            yield from _free(inner)


def changed(node: ast.AST, place: _Place) -> Iterator[ast.AST]:
    """What can stand there instead."""
    match node:
        case ast.Compare():
            for at, op in enumerate(node.ops):
                for other in _COMPARED[type(op)]:
                    yield ast.Compare(node.left, [*node.ops[:at], other(), *node.ops[at + 1 :]], node.comparators)
        case ast.BoolOp(values=values):
            for at in range(len(values)):
                left = values[:at] + values[at + 1 :]
                yield left[0] if len(left) == 1 else ast.BoolOp(node.op, left)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.BinOp() if type(node.op) in _COUNTED:
            yield ast.BinOp(node.left, _COUNTED[type(node.op)](), node.right)
        case ast.AugAssign() if type(node.op) in _COUNTED:
            yield ast.AugAssign(node.target, _COUNTED[type(node.op)](), node.value)
            yield ast.Pass()
        case ast.Constant(value=bool(truth)):
            yield ast.Constant(not truth)
        case ast.Constant(value=int(number)):
            yield ast.Constant(number + 1)
        case ast.Constant(value=str(text)):
            yield ast.Constant("?" + text)
        case ast.Call():
            if isinstance(node.func, ast.Name) and node.func.id in _CALLED:
                yield ast.Call(ast.Name(_CALLED[node.func.id], ast.Load()), node.args, node.keywords)
            for at, keyword in enumerate(node.keywords):
                if keyword.arg:
                    yield ast.Call(node.func, node.args, node.keywords[:at] + node.keywords[at + 1 :])
        case ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Raise():
            yield ast.Pass()
        case ast.Return(value=None):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()
        case ast.Tuple(elts=kinds) if isinstance(place.parent, ast.ExceptHandler):
            for at in range(len(kinds)):
                yield ast.Tuple(kinds[:at] + kinds[at + 1 :], ast.Load())
        case ast.Name() | ast.Attribute() | ast.NamedExpr() if _asked(place):
            yield ast.UnaryOp(ast.Not(), node)
    if isinstance(node, ast.Call) and _asked(place):
        yield ast.UnaryOp(ast.Not(), node)


def _asked(place: _Place) -> bool:
    """Whether it is a condition by itself."""
    return place.field == "test" or (place.field == "ifs" and isinstance(place.parent, ast.comprehension))


def _nodes(node: ast.AST, where: str, lines: range) -> Iterator[tuple[_Place, ast.AST, str, range]]:
    for field, value in ast.iter_fields(node):
        if field in _UNCHANGED:
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_left_out(child):
                continue
            inside, head = where, lines
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inside = f"{where}.{child.name}".lstrip(".")
            elif not _within_function(node, lines) and (name := _assigned(child)):
                inside = f"{where}.{name}".lstrip(".")
            if isinstance(child, ast.stmt) and _within_function(node, lines):
                body = getattr(child, "body", None)
                end = body[0].lineno if body else (child.end_lineno or child.lineno) + 1
                head = range(child.lineno, max(end, child.lineno + 1))
            yield _Place(node, field, index), child, inside or "the module", head
            yield from _nodes(child, inside, head)


def _within_function(node: ast.AST, lines: range) -> bool:
    return bool(lines) or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _assigned(node: ast.AST) -> str:
    """The name of a constant or field that stands outside of every function."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""


def _is_left_out(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Expr(value=ast.Constant()):
            return True
        case ast.keyword(arg="does") | ast.Call(func=ast.Name(id="super")):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super"))))):
            return True
    return False


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())
