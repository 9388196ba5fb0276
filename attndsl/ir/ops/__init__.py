"""The operators of the language: one file each. Passes look them up here and never name one."""

from attndsl.ir.ops.attend import Attend
from attndsl.ir.ops.base import (
    OFFSET,
    Arguments,
    Builder,
    Hooks,
    IllTyped,
    Inline,
    Kernel,
    Lowered,
    LoweredArgument,
    Op,
    Operand,
    OpParameter,
    OracleContext,
    Over,
    PairValues,
    Places,
    Read,
    Record,
    Result,
    WrongOperand,
)
from attndsl.ir.ops.cat import Cat
from attndsl.ir.ops.channels import SwapChannels
from attndsl.ir.ops.codebook import Nearest
from attndsl.ir.ops.cumsum import CumSum
from attndsl.ir.ops.depthwise import Conv, Depthwise
from attndsl.ir.ops.elementwise import Elementwise
from attndsl.ir.ops.flat import Flat
from attndsl.ir.ops.gather import Gather
from attndsl.ir.ops.input import Input, Learn
from attndsl.ir.ops.joint import Joint
from attndsl.ir.ops.kron import Kron
from attndsl.ir.ops.lse import LogSumExp
from attndsl.ir.ops.mass import Mass
from attndsl.ir.ops.minmax import MinMax
from attndsl.ir.ops.part import Part
from attndsl.ir.ops.pool import Pool
from attndsl.ir.ops.project import Project
from attndsl.ir.ops.rank import Rank
from attndsl.ir.ops.reduce import Max, Mean, Norm, Softmax, Sum, Var_
from attndsl.ir.ops.regroup import Count
from attndsl.ir.ops.rotary import Rotary
from attndsl.ir.ops.split import Split
from attndsl.ir.ops.tabulate import Tabulate
from attndsl.ir.ops.top import Top
from attndsl.ir.ops.weights import Weights

_EVERY: tuple[type[Op], ...] = (
    Attend, Cat, Conv, Count, CumSum, Depthwise, Flat, Gather, Joint, Kron, Mass, Max, Mean, MinMax, Nearest,
    Norm, Part, Pool, Project, Rank, Rotary, Softmax, Split, Sum, SwapChannels, Top, Var_, Weights,
)  # fmt: skip

OPS = {op.keyword: op for op in _EVERY}
"""Operators that a spec calls by name."""

__all__ = [
    "OFFSET",
    "OPS",
    "Arguments",
    "Attend",
    "Builder",
    "Elementwise",
    "Hooks",
    "IllTyped",
    "Inline",
    "Input",
    "Kernel",
    "Learn",
    "LogSumExp",
    "Lowered",
    "LoweredArgument",
    "Op",
    "OpParameter",
    "Operand",
    "OracleContext",
    "Over",
    "PairValues",
    "Places",
    "Read",
    "Record",
    "Result",
    "Tabulate",
    "WrongOperand",
]
