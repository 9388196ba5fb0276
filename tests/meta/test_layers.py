"""Imports point one way, and nothing heavy is imported where start-up matters."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"attndsl": ROOT / "attndsl", "attndsl_codegen": ROOT / "codegen" / "attndsl_codegen",
            "attndsl_grammar": ROOT / "grammar" / "attndsl_grammar"}  # fmt: skip

ALLOWED = {
    "attndsl.ir": set(),
    "attndsl.diagnostics": {"attndsl.ir"},
    "attndsl_grammar": set(),
    "attndsl.language": {"attndsl.ir", "attndsl.diagnostics", "attndsl_grammar"},
    "attndsl.analysis": {"attndsl.ir"},
    "attndsl.simulation": {"attndsl.ir", "attndsl.diagnostics", "attndsl.analysis"},
    "attndsl.planning": {"attndsl.ir", "attndsl.diagnostics", "attndsl.analysis", "attndsl.simulation"},
    "attndsl.study": {
        "attndsl.ir",
        "attndsl.diagnostics",
        "attndsl.language",
        "attndsl.simulation",
        "attndsl.planning",
    },
    "attndsl.picture": {
        "attndsl.ir",
        "attndsl.diagnostics",
        "attndsl.analysis",
        "attndsl.simulation",
        "attndsl.planning",
        "attndsl.study",
        "attndsl.files",
    },
    "attndsl.exact": {"attndsl.ir"},
    "attndsl.files": {"attndsl.ir", "attndsl.diagnostics"},
    "attndsl.examples": {"attndsl.ir", "attndsl.diagnostics", "attndsl.language"},
    "attndsl_codegen": {"attndsl", "attndsl.ir", "attndsl.planning", "attndsl.files"},
    "attndsl.generated": set(),
    "attndsl.machine_code": {
        "attndsl_codegen",
        "attndsl.diagnostics",
        "attndsl.generated",
        "attndsl.ir",
        "attndsl.planning",
        "attndsl.simulation",
    },
    "attndsl.verify": {"attndsl.api", "attndsl.ir", "attndsl.exact", "attndsl.planning"},
}
"""What each part may import of the project, besides itself; the api and the cli may import everything."""

TORCH = {
    "attndsl.exact",
    "attndsl.verify",
    "attndsl.bench",
    "attndsl_codegen.kernels",
    "attndsl_codegen.machine",
}


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Every imported module, lazy imports included, type-checking ones not."""
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    skipped = {id(n) for node in ast.walk(tree) if isinstance(node, ast.If)
               and "TYPE_CHECKING" in ast.unparse(node.test) for n in ast.walk(node)}  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= inner & MODULES.keys() or {node.module or ""}
    return names


def part_of(module: str) -> str:
    """`attndsl.ir.ops.attend` belongs to `attndsl.ir`, `attndsl_codegen.emit` to `attndsl_codegen`."""
    parts = module.split(".")
    return parts[0] if parts[0] != "attndsl" else ".".join(parts[:2])


@pytest.mark.parametrize(("module", "path"), sorted(MODULES.items()))
def test_imports_point_one_way(module, path):
    part = part_of(module)
    used = {part_of(name) for name in imports(path) if name.split(".")[0] in PACKAGES} - {part}
    if part in ALLOWED:
        assert used <= ALLOWED[part], f"{module} must not import {sorted(used - ALLOWED[part])}"
    if part != "attndsl.cli" and module != "attndsl.__main__":
        assert "attndsl.cli" not in used
    if part not in ("attndsl.api", "attndsl.bench", "attndsl.cli", "attndsl.machine_code", "attndsl_codegen"):
        assert "attndsl_codegen" not in used


@pytest.mark.parametrize(("module", "path"), sorted(MODULES.items()))
def test_torch_stays_where_it_belongs(module, path):
    heavy = {name.split(".")[0] for name in imports(path)} & {"torch", "triton"}
    if not any(module.startswith(prefix) for prefix in TORCH):
        assert not heavy


def test_there_are_no_import_cycles():
    known = MODULES
    edges = {name: {used for used in imports(path) if used in known} for name, path in known.items()}
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if state.get(name) == 2:
            return
        assert state.get(name) != 1, f"cycle: {' -> '.join([*trail, name])}"
        state[name] = 1
        for used in edges[name]:
            visit(used, (*trail, name))
        state[name] = 2

    for name in known:
        visit(name, ())


COMMANDS = (
    ["--help"],
    ["list"],
    ["compile", "swin", "-o", "-"],
    ["explain", "swin"],
    ["show", "swin"],
    ["simulate", "swin"],
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_commands_start_without_torch(arguments):
    script = (
        "import sys; from attndsl.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'triton', 'sympy', 'networkx'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_help_needs_only_the_standard_library():
    script = (
        "import sys; from attndsl.cli.main import main; main(['--help']);"
        "heavy = {'numpy', 'lark', 'rich', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
