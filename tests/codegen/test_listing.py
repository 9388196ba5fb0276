"""Loops and instructions of machine code, on listings small enough to count by hand."""

import pytest

from attndsl_codegen.architectures import limits_of, residency
from attndsl_codegen.listing import Loop, inner_loops, natural_loops, product_flops, read_ptx, read_sass

SASS = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;       /* 0x00000a00ff017b82 */
        /*0010*/                   IMAD R2, R1, R1, RZ ;        /* 0x00000a00ff017b82 */
        /*0020*/                   HGMMA.64x64x16.F32.BF16 R24, gdesc[UR4], RZ, !UPT ;
        /*0030*/                   MUFU.EX2 R5, R4 ;
        /*0040*/              @!P6 BRA 0xc0 ;
        /*0050*/                   MUFU.EX2 R6, R4 ;
        /*0060*/               @P0 BRA 0x20 ;
        /*0070*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], R24 ;
        /*0080*/                   STL [R1+0x8], R5 ;
        /*0090*/                   BRA.U UP0, 0x70 ;
        /*00a0*/               @P1 BRA 0x10 ;
        /*00b0*/                   EXIT ;
        /*00c0*/              @!P5 BRA 0xc0 ;
        /*00d0*/                   BRA 0x50 ;
        /*00e0*/                   BRA 0xe0 ;
"""
"""Two loops inside a third one; the first waits in a block at the end, which jumps back into it."""

PTX = """
.visible .entry kernel(
	.param .u64 .ptr kernel_param_0
)
{
	.reg .b32 	%r<1033>;
	mov.b32 	%r1, 0;
$L__BB0_1:                              // %loop
	.loc	1 3 2
	wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%r1,%r2}, %rd1, %rd2, %p1, 1, 1, 0, 1;
	ex2.approx.ftz.f32 	%r2, %r1;
	@%p2 bra 	$L__BB0_1;
	bra.uni 	$L__BB0_3;
$L__BB0_2:
	trap;
$L__BB0_3:
	ret;
}
"""


def test_inner_loops_of_sass():
    first, second = inner_loops(read_sass(SASS))
    flops = 2 * 64 * 64 * 16 / 4
    assert first == Loop(instructions=7, tensor=1, tensor_flops=flops, special=2, spills=0)
    assert second == Loop(instructions=3, tensor=1, tensor_flops=2 * flops, special=0, spills=1)


def test_a_jump_back_alone_is_no_loop():
    """The block at 0xc0 jumps back to 0x50, past 0x70; a loop of all between would hold both products."""
    spans = {(min(body), max(body)) for body in natural_loops(read_sass(SASS))}
    assert spans == {(1, 13), (2, 13), (7, 9), (12, 12)}


def test_loops_without_tensor_cores_are_those_with_exponentials():
    plain = SASS.replace("HGMMA.64x64x16.F32.BF16", "FFMA").replace("HGMMA.64x128x16.F32.BF16", "FFMA")
    (only,) = inner_loops(read_sass(plain))
    assert (only.tensor, only.tensor_flops, only.special) == (0, 0, 2)


def test_inner_loops_of_ptx():
    code = read_ptx(PTX)
    assert [line.text.split()[0] for line in code][:2] == [
        "mov.b32",
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16",
    ]
    assert inner_loops(code) == [Loop(3, 1, 2 * 64 * 64 * 16 / 4, 1, 0)]


@pytest.mark.parametrize(
    ("line", "flops"),
    [
        ("HMMA.16816.F32.BF16 R40, R100, R132, RZ", 2 * 16 * 8 * 16),
        ("HMMA.1688.F32.TF32 R40, R100, R132, RZ", 2 * 16 * 8 * 8),
        ("HGMMA.64x32x8.F32.TF32 R24, gdesc[UR4], R24", 2 * 64 * 32 * 8 / 4),
        ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%r1}, {%r2}, {%r3}, {%r4};", 2 * 16 * 8 * 16),
        ("UTCHMMA gdesc[UR18], gdesc[UR20], tmem[UR12], tmem[UR40], idesc[UR41], UPT", None),
        ("HMMA.99999.F32.BF16 R40, R100, R132, RZ", None),
    ],
)
def test_operations_of_products(line, flops):
    assert product_flops(line) == flops


def test_an_unknown_product_makes_the_loop_unknown():
    (only,) = inner_loops(
        read_sass(SASS.replace("HGMMA.64x64x16.F32.BF16", "UTCHMMA").replace("BRA.U UP0, 0x70", "NOP"))
    )
    assert only.tensor_flops is None


@pytest.mark.parametrize(
    ("architecture", "registers", "warps", "shared", "blocks", "limit"),
    [
        (90, 128, 8, 65536, 2, "registers"),
        (90, 129, 8, 65536, 1, "registers"),  # 136 are given out: 17,408 of a warp's 32 lanes in four parts
        (90, 64, 4, 100 * 1024, 2, "shared memory"),
        (80, 64, 4, 100 * 1024, 1, "shared memory"),
        (89, 32, 16, 0, 3, "threads"),
        (90, 16, 1, 0, 32, "blocks"),
        (89, 64, 4, 114688, 0, "shared memory"),
        (90, 255, 16, 0, 0, "registers"),
    ],
)  # fmt: skip
def test_blocks_on_a_unit(architecture, registers, warps, shared, blocks, limit):
    found = residency(architecture, registers, warps, shared)
    assert (found.blocks, found.limit) == (blocks, limit)


def test_limits_of_unlisted_architectures():
    assert limits_of(87) == limits_of(86)
    with pytest.raises(ValueError, match=r"7\.5"):
        limits_of(75)
