"""What others published: tile bounds of neighbourhood attention, speeds of dense kernels."""

import pytest

import attndsl

TILES = {"tile_q": (4, 8, 8), "tile_k": (2, 8, 8), "heads": 24}
BOUNDS = {
    (1, 1, 1): 3.27, (2, 1, 1): 3.60, (1, 1, 8): 5.45, (2, 1, 8): 6.00,
    (1, 8, 8): 9.09, (2, 8, 8): 10.0, (16, 8, 8): 11.11,
}  # fmt: skip
"""Hassani et al., Generalized Neighborhood Attention, 2025: window 18x24x24 on 30x48x80."""


@pytest.mark.parametrize("stride", BOUNDS, ids=str)
def test_tile_bounds_of_strided_neighbourhoods(stride):
    report = attndsl.simulate(attndsl.load("hunyuan_gna", stride=stride), **TILES).to_dict()
    assert report["tile_bound_worst"] == pytest.approx(BOUNDS[stride], abs=0.005)
    assert report["flop_bound"] == pytest.approx(11.11, abs=0.005)
    assert (report["attends"][0]["tiles"]["partial"] == 0) == (stride == (16, 8, 8))


def teraflops(kernel, n, dim, **options):
    heads = 2048 // dim  # as in FlashAttention's benchmarks: 16k tokens in all
    report = attndsl.simulate(
        attndsl.load("dense"), "h100", kernel=kernel, shape={"n": n}, dim=dim, heads=heads, **options
    )
    return report.flops / report.seconds / 1e12


def test_dense_attention_is_as_fast_as_flash_attention_3():
    assert teraflops("flash", 16384, 128) == pytest.approx(648, rel=0.15)


def test_a_triton_kernel_is_as_fast_as_published():
    found = teraflops("flex", 16384, 128)
    assert 395 * 0.8 <= found <= 477 * 1.2
    assert found < 0.8 * teraflops("flash", 16384, 128)
