"""What hooks compute with: fields at coordinates, integers as in Python, functions that Triton lacks.

Triton divides integers as C does: towards zero, remainders with the sign of the dividend.
"""

from __future__ import annotations

from attndsl_codegen.kernels.triton.support import jit, tl


@jit
def plain(size):
    """A size that is passed as `2 * size + 1`: Triton compiles a kernel for it once, see `for_any_size`."""
    return size >> 1


@jit
def floor_div(a, b):
    """`a // b` of integers of any sign, rounded down."""
    a = a + 0 * tl.program_id(0)  # constants, of which Triton makes sizes of 1, would be divided as by Python
    quotient = a // b
    return quotient - tl.cast((quotient * b != a) & ((a < 0) != (b < 0)), tl.int32)


@jit
def floor_mod(a, b):
    """`a % b` of integers of any sign, with the sign of b."""
    a = a + 0 * tl.program_id(0)  # as above
    rest = a % b
    return tl.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest)


@jit
def one_bit(x):
    """Whether an integer is 1, 2, 4, 8, ..."""
    return (x > 0) & ((x & (x - 1)) == 0)


@jit
def tanh_by_exp2(x):
    """The hyperbolic tangent; beyond 15 it is one in float32."""
    power = tl.exp2(tl.minimum(tl.maximum(x, -15.0), 15.0) * 2.8853900817779268)  # 2 / log(2)
    return (power - 1.0) / (power + 1.0)


@jit
def on_axis(x, extent):
    """A coordinate clamped to an axis."""
    return tl.minimum(tl.maximum(x, 0), extent - 1)


@jit
def layer_of(field, batch, head):
    """Where a field (data, then as for `plain` batch and head strides, extents) begins for a head."""
    return field[0] + batch * plain(field[1]) + head * plain(field[2])


@jit
def look_up_1(field, batch, head, a):
    """A field at a coordinate."""
    return tl.load(layer_of(field, batch, head) + on_axis(a, plain(field[3])))


@jit
def look_up_2(field, batch, head, a, b):
    """A field at two coordinates."""
    number = on_axis(a, plain(field[3])) * plain(field[4]) + on_axis(b, plain(field[4]))
    return tl.load(layer_of(field, batch, head) + number)


@jit
def look_up_3(field, batch, head, a, b, c):
    """A field at three coordinates."""
    number = on_axis(a, plain(field[3])) * plain(field[4]) + on_axis(b, plain(field[4]))
    return tl.load(layer_of(field, batch, head) + number * plain(field[5]) + on_axis(c, plain(field[5])))


@jit
def look_up_4(field, batch, head, a, b, c, d):
    """A field at four coordinates."""
    number = on_axis(a, plain(field[3])) * plain(field[4]) + on_axis(b, plain(field[4]))
    number = number * plain(field[5]) + on_axis(c, plain(field[5]))
    return tl.load(layer_of(field, batch, head) + number * plain(field[6]) + on_axis(d, plain(field[6])))
