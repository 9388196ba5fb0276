"""Takes from the kernels what a program needs: whole definitions, as they are written, comments included."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

PACKAGE = "attndsl_codegen.kernels"
MODULES = (
    "arguments",
    "tiles",
    "fields",
    "parameters",
    "mechanism",
    "masks",
    "sorting",
    "groups",
    "plan",
    "rows",
    "steps",
    "softmax",
    "fused",
    "definition",
    "biases",
    "tiled",
    "all_keys",
    "chunked",
    "causal",
    "contracted",
    "paths",
    "paired",
    "triton.support",
    "triton.hooks",
    "triton.numbers",
    "triton.configurations",
    "triton.strides",
    "triton.label_ranges",
    "triton.label_order",
    "triton.labels",
    "triton.schedule",
    "triton.places",
    "triton.visits",
    "triton.forward",
    "triton.weighted",
    "triton.backward",
    "triton.launch",
    "triton.running",
    "triton.linear",
    "triton.pairs",
    "triton.pair_launch",
    "triton.lookup_gradient",
    "triton.sums",
    "triton.lookups",
    "counting",
    "registration",
    "attend",
    "portions",
    "operators",
    "selections",
    "numbers",
    "selfcheck",
)
"""The kernel modules, in the order in which their definitions appear in a generated file."""


@dataclass(frozen=True)
class Definition:
    """A top-level definition of a kernel module: its source, and the names it mentions."""

    name: str
    module: str
    text: str
    mentions: frozenset[str]


@dataclass(frozen=True)
class Library:
    """All definitions of the kernels in file order, and the imports they need by the name they bind."""

    definitions: dict[str, Definition]
    imports: dict[str, str]


@cache
def library() -> Library:
    """Reads the kernel modules."""
    definitions: dict[str, Definition] = {}
    imports: dict[str, str] = {}
    for module in MODULES:
        text = files(PACKAGE).joinpath(f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        _read(module, text, definitions, imports)
    return Library(definitions, imports)


def _read(module: str, text: str, definitions: dict[str, Definition], imports: dict[str, str]) -> None:
    lines = text.splitlines()
    body = ast.parse(text).body
    for at, node in enumerate(body):
        match node:
            case ast.Import(names=names):
                imports |= {(alias.asname or alias.name): f"import {alias.name}" for alias in names}
            case ast.ImportFrom(module=str(source), names=names):
                if not source.startswith(PACKAGE) and source != "__future__":
                    imports |= {alias.name: f"from {source} import {alias.name}" for alias in names}
            case ast.Try():  # imports of a library that may be missing, under the first name they bind
                names = [alias.asname or alias.name for alias in _imported(node)]
                definitions |= {name: Definition(name, module, "", frozenset(names[:1])) for name in names}
                whole = _definition(names[0], module, node, lines, node)
                definitions[names[0]] = replace(whole, mentions=frozenset())
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                assert name not in definitions, f"{name} is defined twice in the kernels"
                definitions[name] = _definition(name, module, node, lines, node)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                end = body[at + 1] if at + 1 < len(body) and _is_docstring(body[at + 1]) else node
                definitions[name] = _definition(name, module, node, lines, end)


def _imported(node: ast.Try) -> list[ast.alias]:
    return [
        alias for statement in node.body if isinstance(statement, ast.Import) for alias in statement.names
    ]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _definition(name: str, module: str, node: ast.stmt, lines: list[str], end: ast.stmt) -> Definition:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    text = "\n".join(lines[first - 1 : end.end_lineno])
    return Definition(name, module, text, frozenset(mentioned(text)))


def link(roots: Iterable[str]) -> list[Definition]:
    """The definitions reachable from `roots`, in library order."""
    known = library().definitions
    wanted: set[str] = set()
    stack = [name for name in roots if name in known]
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack.extend(known[name].mentions & known.keys())
    return [definition for name, definition in known.items() if name in wanted]


def mentioned(text: str) -> set[str]:
    """The names that occur in a piece of Python; not where they are a function's own parameters."""
    return _mentioned_in(ast.parse(text))


def _mentioned_in(node: ast.AST) -> set[str]:
    match node:
        case ast.Name(id=name):
            return {name}
        case ast.FunctionDef(args=arguments, body=body) | ast.Lambda(args=arguments, body=body):
            lists = arguments.posonlyargs, arguments.args, arguments.kwonlyargs
            parameters = {parameter.arg for every in lists for parameter in every}
            inside = body if isinstance(body, list) else [body]
            outside = (child for child in ast.iter_child_nodes(node) if child not in inside)
            return _mentioned_by(inside) - parameters | _mentioned_by(outside)
    return _mentioned_by(ast.iter_child_nodes(node))


def _mentioned_by(nodes: Iterable[ast.AST]) -> set[str]:
    return set().union(*map(_mentioned_in, nodes))


def imports_for(names: set[str]) -> list[str]:
    """The import lines for the names in use, standard library first, names of one module on one line."""
    plain: set[str] = set()
    members: dict[str, set[str]] = {}
    for name, line in {**library().imports, "nn": "from torch import nn"}.items():
        if name in names or name.split(".")[0] in names:
            match line.split():
                case ["import", module]:
                    plain.add(module)
                case ["from", module, "import", member]:
                    members.setdefault(module, set()).add(member)
    lines = [f"import {module}" for module in sorted(plain)]
    lines += [f"from {module} import {', '.join(sorted(members[module]))}" for module in sorted(members)]
    return sorted(lines, key=lambda line: line.split()[1].startswith("torch"))
