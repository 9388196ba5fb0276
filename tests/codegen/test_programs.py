"""Random programs: the compiled module computes what the exact definition says, forward and backward."""

import hashlib
from types import ModuleType

import torch
from hypothesis import given, note
from hypothesis import strategies as st

from attndsl.exact import oracle
from attndsl.ir.program import Program
from attndsl.language import load_text
from attndsl.verify import Case, Verifier
from attndsl_codegen.emit import Emitter
from attndsl_codegen.hooks import Tiles
from tests.codegen.build import machinery
from tests.programs import programs
from tests.strategies import thorough

TOLERANCE = 1e-6
"""Inputs are float64 and learned tensors float32, so that gradients of the latter are rounded once."""


class QuickVerifier(Verifier):
    """Runs the part of the file that is the program's own, on top of the imported kernels, in small tiles."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.definition = oracle(program)
        self.has_lse = all(program.value(name).type.partial for name in program.results)
        axes = {v.name: (len(v.op.query_tokens.axes), len(v.op.key_tokens.axes)) for v in program.attends}
        tiles = {name: Tiles((2,) * i, (3,) * j) for name, (i, j) in axes.items()}
        own = Emitter(program, tiles, example={}, sampled=False, version="0").own
        self.generated = ModuleType("quick")
        namespace = f"attndsl_{hashlib.sha256(own.encode()).hexdigest()}"
        given = {"PARAMETERS": dict(program.parameters), "NAMESPACE": namespace}
        vars(self.generated).update({**machinery(), **given})
        code = compile(f"from __future__ import annotations\n{own}", "<generated>", "exec")
        exec(code, vars(self.generated))


@st.composite
def cases(draw, program: Program) -> Case:
    """Small sizes, odd ones among them, and any seed."""
    sizes = {name: draw(st.integers(2, 7 if name == "n" else 4)) for name in program.symbols}
    sizes["heads"] = draw(st.sampled_from([2, 4]))
    return Case(
        sizes,
        dtype=torch.float64,
        batch=draw(st.integers(1, 2)),
        width=8,
        value_width=8,
        seed=draw(st.integers(0, 99)),
    )


@thorough(150)
@given(st.data())
def test_random_programs(data):
    text = data.draw(programs())
    note(text)
    program = load_text(text)
    case = data.draw(cases(program))
    note(str(case))
    outcome = QuickVerifier(program).run(case)
    errors = outcome.forward, outcome.backward, outcome.lse, outcome.choices
    assert max(errors) <= TOLERANCE, errors
