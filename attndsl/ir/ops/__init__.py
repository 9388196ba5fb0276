"""The operators of the language: one file each. Passes look them up here and never name one."""

from attndsl.ir.ops.attend import Attend
from attndsl.ir.ops.base import IllTyped, Op, OpParameter, OracleContext
from attndsl.ir.ops.input import Input

OPS = {op.keyword: op for op in (Attend,)}
"""Operators that a spec calls by name."""

__all__ = ["OPS", "Attend", "IllTyped", "Input", "Op", "OpParameter", "OracleContext"]
