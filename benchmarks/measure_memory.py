"""Measures the memory and time of one program in this process, which does nothing else. Used by memory.py.

python benchmarks/measure_memory.py '{"program": "linear", "extents": [16384], "heads": 8, "width": 64}'
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from common import peak_bytes, resident_bytes

TENSOR = "tensor attention"
PROGRAMS = {
    TENSOR: """\
attention tensor {
  tokens x[n]
  input  q, k1, k2, v1, v2 : x
  return attend(q, kron(k1, k2), kron(v1, v2))
}
""",
    "linear": """\
attention linear {
  tokens x[n]
  input  q, k, v : x
  return attend(elu(q) + 1, elu(k) + 1, v, normalize = linear)
}
""",
    "linear, causal": """\
attention linear_causal {
  tokens x[n]
  input  q, k, v : x
  return attend(elu(q) + 1, elu(k) + 1, v, where = causal, normalize = linear)
}
""",
    "agent": """\
attention agent(grid = (7, 7)) {
  tokens x[h, w]
  input  q, k, v : x
  a = pool(q, to = grid)
  return attend(q, a, attend(a, k, v)) + depthwise(v, 3)
}
""",
    "codebook": """\
attention vq(codes = 512) {
  tokens x[n]
  input  q, k, v : x
  c = codebook(k, codes)
  loss commit = c.loss
  return attend(q, c.code, mean(v, by = c.label), bias = log(c.count[j]))
}
""",
    "codebook, causal": """\
attention vq_causal(codes = 128, block = 128) {
  tokens x[n]
  tokens cell[n // block, codes]
  input  q, k, v : x
  c = codebook(k, codes)
  t = (i // block, c.label[i])
  total = cumsum(sum(v, by = t, cell), axis = 0)
  size = cumsum(count(by = t, cell, of = x), axis = 0)
  loss commit = c.loss
  return joint(attend(q, c.hat, v, where = causal and i // block - j // block <= 1),
               attend(q, gather(c.code, cell, i.1), total / max(size, 1), where = j.0 == i // block - 2,
                      bias = log(size[j])))
}
""",
}
"""Specs by name. All but tensor attention have a cost linear in the tokens."""


@dataclass(frozen=True)
class Case:
    """A program at a size; one batch element.

    Attributes:
        program: a name in `PROGRAMS`.
        extents: tokens along each axis.
        heads, width: of every input.
    """

    program: str
    extents: tuple[int, ...]
    heads: int = 8
    width: int = 64


@dataclass(frozen=True)
class Measured:
    """What one process found.

    Attributes:
        forward_seconds, total_seconds: one forward pass without gradients; one forward and backward pass.
        forward_cpu_seconds, total_cpu_seconds: the same, without the time that other processes had.
        forward_bytes, total_bytes: how far memory rose above the inputs; outputs and gradients are included.
        input_bytes: the inputs.
    """

    forward_seconds: float
    forward_cpu_seconds: float
    total_seconds: float
    total_cpu_seconds: float
    forward_bytes: int
    total_bytes: int
    input_bytes: int


def measure(case: Case) -> Measured:
    """Runs the program forward without gradients, then forward and backward."""
    import torch

    import attndsl
    from attndsl.language import load_text

    torch.manual_seed(0)
    module: Any = attndsl.compile(load_text(PROGRAMS[case.program]))(heads=case.heads, dim=case.width)

    def inputs(extents: tuple[int, ...]) -> dict[str, Any]:
        names = ("q", "k1", "k2", "v1", "v2") if case.program == TENSOR else ("q", "k", "v")
        return {name: torch.randn(1, case.heads, *extents, case.width, requires_grad=True) for name in names}

    def forward(given: Mapping[str, Any]) -> None:
        with torch.no_grad():
            module(**given)

    def both(given: Mapping[str, Any]) -> None:
        module(**given).sum().backward()

    small = inputs((256,) if len(case.extents) == 1 else (16, 16))  # pays for what is made once
    forward(small)
    both(small)
    given = inputs(case.extents)
    before = resident_bytes()
    first = clocked(lambda: forward(given)), peak_bytes() - before
    second = clocked(lambda: both(given)), peak_bytes() - before
    size = sum(tensor.nbytes for tensor in given.values())
    return Measured(*first[0], *second[0], first[1], second[1], size)


def clocked(call: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and of all threads together."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def main(text: str) -> None:
    """Prints what was measured as JSON."""
    given = json.loads(text)
    print(json.dumps(asdict(measure(Case(**{**given, "extents": tuple(given["extents"])})))))


if __name__ == "__main__":
    main(*sys.argv[1:])
