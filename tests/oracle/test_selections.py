"""Selections by definition: each mechanism against loops written from its card in the field guide."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention, softplus

from attndsl.exact import oracle
from attndsl.language import load_text


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found, expected, atol=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def value(text, name, shape, learned=None, **tensors):
    """A value on the way, in the shape given."""
    return oracle(load_text(text)).run(tensors, learned or {}).values[name].reshape(shape)


def dense(q, k, v, mask, bias=0.0):
    """Masked attention of every head, rows without keys zero."""
    s = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias
    seen = mask.any(-1, keepdim=True)
    s = torch.where(mask, s, torch.where(seen, -torch.inf, 0.0))
    return torch.where(seen, s.softmax(-1), 0.0) @ v


# --- top, mass, rank, minmax on their own ---------------------------------------------------------

PICK = """
attention pick(count = 2) {{
  tokens x[n]
  input q, k, v : x
  input f : x scalar
  keep = {}
  return attend(q, k, v, where = keep)
}}
"""


def pick(expression, f, **parameters):
    n = f.shape[-1]
    program = load_text(PICK.format(expression), given=parameters)
    q = randn(1, f.shape[1], n, 4)
    return oracle(program).run({"q": q, "k": q, "v": q, "f": f}).values["keep"].reshape(f.shape[1], n, n)


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_top_with_ties_and_a_mask(count):
    """Equal numbers: the lowest index; a row with fewer visible keys than asked for keeps all of them."""
    f = torch.tensor([[[2.0, 3.0, 3.0, 1.0, 3.0, 2.0]]], dtype=torch.float64)
    keep = pick("top(f[j], count, over = j, where = j <= i and j != i)", f, count=count)[0]
    for i in range(6):
        order = sorted(range(i), key=lambda j: (-float(f[0, 0, j]), j))
        assert set(np.flatnonzero(keep[i])) == set(order[:count])
    assert not keep[0].any(), "a row without visible keys keeps none"


def test_top_keeps_what_always_names_but_not_what_where_hides():
    f = torch.tensor([[[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]], dtype=torch.float64)
    keep = pick("top(f[j], 2, over = j, where = j != 5, always = j < 1 or j == 5)", f)[0]
    assert (keep == torch.tensor([True, False, False, False, True, False])).all()
    keep = pick("top(f[j], 2, over = j, always = j < 4)", f)[0]
    assert (keep == torch.tensor([True, True, True, True, False, False])).all()


def test_top_over_queries_and_over_all_pairs():
    f = randn(1, 2, 5, seed=3)
    product = (f[0, :, :, None] * f[0, :, None, :]).numpy()
    over_i = pick("top(f[i] * f[j], 2, over = i)", f)
    over_both = pick("top(f[i] * f[j], 7, over = (i, j))", f)
    for head in range(2):
        for j in range(5):
            column = product[head, :, j]
            expected = sorted(range(5), key=lambda i: (-column[i], i))[:2]
            assert set(np.flatnonzero(over_i[head, :, j])) == set(expected)
        flat = product[head].ravel()
        expected = sorted(range(25), key=lambda at: (-flat[at], at))[:7]
        assert set(np.flatnonzero(over_both[head].reshape(-1))) == set(expected)


def nucleus(weight, share, must, may):
    """The fewest largest entries that reach a share, one at a time."""
    order = sorted(np.flatnonzero(may & ~must), key=lambda at: (-weight[at], at))
    total, chosen = weight[may].sum(), set(np.flatnonzero(must & may))
    held = sum(weight[at] for at in chosen)
    for at in order:
        chosen.add(at)
        held += weight[at]
        if total > 0 and held >= share * total:
            break
    return chosen


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.01])
def test_mass(share):
    f = randn(1, 2, 9, seed=1)
    rule = "mass(exp(f[i] * f[j]), share, over = j, where = j <= i, always = j == i)"
    text = PICK.format(rule).replace("count = 2", f"share = {share}")
    q = randn(1, 2, 9, 4)
    keep = oracle(load_text(text)).run({"q": q, "k": q, "v": q, "f": f}).values["keep"].reshape(2, 9, 9)
    for head in range(2):
        for i in range(9):
            weight = torch.exp(f[0, head, i] * f[0, head]).numpy()
            j = np.arange(9)
            assert set(np.flatnonzero(keep[head, i])) == nucleus(weight, share, j == i, j <= i)


def test_mass_is_the_share_of_a_softmax():
    """With exp(score) the kept entries hold the share of the softmax, and one fewer would not."""
    f = randn(1, 1, 12, seed=5)
    keep = pick("mass(exp(3 * f[i] * f[j]), 0.8, over = j)", f)[0]
    weight = torch.softmax(3 * f[0, 0, :, None] * f[0, 0], -1)
    held = torch.where(keep, weight, 0.0).sum(-1)
    smallest = torch.where(keep, weight, torch.inf).amin(-1)
    assert (held >= 0.8).all()
    assert (held - smallest < 0.8).all()


def test_mass_of_nothing_and_of_negative_weights():
    """A sum of zero never reaches a share; a negative weight is no weight."""
    zero = torch.zeros(1, 1, 4, dtype=torch.float64)
    assert pick("mass(abs(f[j]), 0.5, over = j, where = j <= i)", zero)[0].equal(torch.ones(4, 4).tril() > 0)
    with pytest.raises(ValueError, match=r"a weight is negative; for scores write exp"):
        pick("mass(f[j], 0.5, over = j)", zero - 1)


CROSS = """
attention cross {{
  tokens x[n]
  tokens y[m]
  input q : x
  input k, v : y
  input f : y scalar
  keep = top(f[j], 2, over = j{})
  return attend(q, k, v, where = keep{})
}}
"""


@pytest.mark.parametrize(
    ("on", "lookup", "name"), [(", on = (x, y)", "", "x by y"), ("", "[0, j]", "y by y")]
)
def test_which_tokens_are_meant(on, lookup, name):
    """A side that no lookup tells is on the set of the other, unless `on` says more."""
    program = load_text(CROSS.format(on, lookup))
    assert program.value("keep").type.tokens.name == name
    tensors = {"q": randn(1, 1, 3, 4), "k": randn(1, 1, 5, 4, seed=1), "v": randn(1, 1, 5, 4, seed=2)}
    f = randn(1, 1, 5, seed=3)
    best = torch.zeros(5, dtype=torch.bool).index_fill(0, f[0, 0].topk(2).indices, True)
    close(oracle(program)(**tensors, f=f), dense(*tensors.values(), best.expand(3, 5)))


def test_selections_send_no_gradient():
    """The bias gets one, what chooses does not."""
    program = load_text(PICK.format("top(f[j], 2, over = j)"))
    f = randn(1, 1, 5).requires_grad_()
    q = randn(1, 1, 5, 4, seed=1).requires_grad_()
    oracle(program)(q=q, k=q, v=q, f=f).sum().backward()
    assert f.grad is None
    assert q.grad is not None


RANK = """
attention sorted {
  tokens x[h, w]
  input q, k, v : x
  input f : x scalar
  input g : x int
  r = rank(f)
  o = rank(g)
  return attend(q, k, v, where = r[i] <= r[j] and o[j] > 2)
}
"""


def test_rank_is_a_stable_sort():
    f = torch.randint(0, 4, (2, 3, 4, 5), generator=torch.Generator().manual_seed(0)).double()
    g = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    q = randn(2, 3, 4, 5, 2)
    values = oracle(load_text(RANK)).run({"q": q, "k": q, "v": q, "f": f, "g": g}).values
    for b in range(2):
        for rank, number in [(values["o"][b, 0], g[b]), *zip(values["r"][b], f[b])]:
            order = np.argsort(number.flatten().numpy(), kind="stable")
            assert (np.argsort(rank[:, 0].numpy()) == order).all()


def test_a_transposed_and_a_combined_relation():
    """`keep[j, i]` asks for the other direction; conditions on relations combine before they are used."""
    rule = "top(f[i] - f[j], 2, over = j)\n  other = keep[j, i]\n  both = keep and not top(f[j], 1, over = j)"
    text = PICK.format(rule).replace("where = keep", "where = both or other")
    q, f = randn(1, 1, 6, 4), randn(1, 1, 6, seed=2)
    keep = pick("top(f[i] - f[j], 2, over = j)", f)[0]
    best = pick("top(f[j], 1, over = j)", f)[0]
    expected = dense(q, q, q, (keep & ~best) | keep.T)
    close(oracle(load_text(text))(q=q, k=q, v=q, f=f), expected)


# --- weights --------------------------------------------------------------------------------------

WEIGHTS = """
attention probe {
  tokens x[n]
  tokens p[3]
  input q, k, v : x
  input b : x scalar
  w = weights(gather(q, p, i * 2), k, where = j != 1, bias = b[j], scale = 0.7)
  rows = sum(w, over = j)
  columns = sum(w, by = j)
  mean_column = mean(w, over = i)
  diagonal = sum(w, x, by = i + j)
  top_column = max(w, over = i)
  return attend(q, k, v, bias = columns[j] + mean_column[j] + diagonal[i] + top_column[j]), rows
}
"""


def test_weights_and_their_reductions():
    q, k, v, b = (
        randn(2, 2, 7, 4),
        randn(2, 2, 7, 4, seed=1),
        randn(2, 2, 7, 4, seed=2),
        randn(2, 2, 7, seed=3),
    )
    values = oracle(load_text(WEIGHTS)).run({"q": q, "k": k, "v": v, "b": b}).values
    s = 0.7 * q[:, :, :6:2] @ k.transpose(-1, -2) + b[:, :, None]
    s[..., 1] = -torch.inf
    w = s.softmax(-1)
    close(values["w"].reshape(w.shape), w)
    close(values["rows"], torch.ones(2, 2, 3, 1, dtype=torch.float64))
    close(values["columns"][..., 0], w.sum(2))
    close(values["mean_column"][..., 0], w.mean(2))
    close(values["top_column"][..., 0], w.amax(2))
    diagonal = torch.zeros(2, 2, 7, dtype=torch.float64)
    for i in range(3):
        for j in range(7 - i):
            diagonal[..., i + j] += w[..., i, j]
    close(values["diagonal"][..., 0], diagonal)


# --- DMA ------------------------------------------------------------------------------------------

DMA = """
attention dma(w = 4) {
  tokens x[n]
  input q, k, v : x
  learn a : [] scalar
  d = exp(a * softplus(sum(split(project(flat(v), width = heads), heads), over = width)))
  keep = top(d[j], w, over = j, where = causal)
  return attend(q, k, v, where = causal and keep, bias = d[j])
}
"""


def dma_inputs(n=11, heads=2):
    tensors = {name: randn(2, heads, n, 4, seed=s) for s, name in enumerate("qkv")}
    tensors["v"][:, :, 3] = tensors["v"][:, :, 7]  # equal importance
    program = load_text(DMA)
    weight = next(v for v in program.learned if v.name != "a")
    return (
        program,
        tensors,
        {"a": randn(heads, seed=5), weight.name: randn(heads * 4, heads, seed=6)},
        weight.name,
    )


def importance(tensors, learned, name):
    flat = tensors["v"].permute(0, 2, 1, 3).flatten(2)
    return torch.exp(learned["a"] * softplus(flat @ learned[name])).permute(0, 2, 1)


@pytest.mark.parametrize("w", [1, 4, 100])
def test_dma(w):
    _, tensors, learned, name = dma_inputs()
    found = oracle(load_text(DMA, given={"w": w}))(params=learned, **tensors)
    d = importance(tensors, learned, name)
    mask = torch.zeros(2, 2, 11, 11, dtype=torch.bool)
    for b in range(2):
        for h in range(2):
            for i in range(11):
                order = sorted(range(i + 1), key=lambda j: (-float(d[b, h, j]), j))
                mask[b, h, i, order[:w]] = True
                assert mask[b, h, i].sum() == min(i + 1, w)
    close(found, dense(tensors["q"], tensors["k"], tensors["v"], mask, d[:, :, None]))


def test_dma_is_causal():
    """The choice of a query looks at no later token (the rule of the paper, not that of the kernels)."""
    program, tensors, learned, _ = dma_inputs()
    whole = oracle(program)(params=learned, **tensors)
    prefix = oracle(program)(params=learned, **{name: t[:, :, :6] for name, t in tensors.items()})
    close(whole[:, :, :6], prefix)


# --- VMoBA ----------------------------------------------------------------------------------------

VMOBA = """
attention vmoba(bt = 2, bh = 2, bw = 3, tau = 0.25) {
  tokens x[t, h, w]
  tokens c[t // bt, h // bh, w // bw]
  require t % bt == 0 and h % bh == 0 and w % bw == 0
  input q, k, v : x
  kb = mean(k, by = (i.t // bt, i.h // bh, i.w // bw), c)
  own = i.t // bt == j.0 and i.h // bh == j.1 and i.w // bw == j.2
  g = minmax(dot(q[i], kb[j]), over = (i, j))
  m = mass(g, tau, over = (i, j), always = own)
  return attend(q, k, v, where = m[i, (j.t // bt, j.h // bh, j.w // bw)])
}
"""


def blocks_of(extents, block):
    """The block number of every token."""
    places = np.stack(np.meshgrid(*map(np.arange, extents), indexing="ij"), -1).reshape(-1, len(extents))
    counts = [e // b for e, b in zip(extents, block)]
    return torch.from_numpy(np.ravel_multi_index((places // np.array(block)).T, counts))


def vmoba(q, k, v, tau):
    """One head, by the pool of all (query, block) pairs; from `vmoba.py` of the authors, in words."""
    block = blocks_of((4, 4, 3), (2, 2, 3))
    kb = torch.stack([k[block == c].mean(0) for c in range(int(block.max()) + 1)])
    gate = q @ kb.T
    span = gate.max() - gate.min()
    gate = (gate - gate.min()) / (span if span > 1e-6 else 1.0)
    own = block[:, None] == torch.arange(len(kb))
    rest = max(0.0, tau - float(gate[own].sum() / gate.sum())) if gate.sum() > 0 else tau
    others = [(float(gate[i, c]), -i, -c) for i in range(len(q)) for c in range(len(kb)) if not own[i, c]]
    keep, held = own.clone(), 0.0
    for weight, i, c in sorted(others, reverse=True):
        keep[-i, -c] = True
        held += weight
        if gate.sum() > 0 and held / float(gate.sum()) >= rest:
            break
    return keep, keep[:, block]


@pytest.mark.parametrize("tau", [0.0, 0.25, 0.6, 1.01])
def test_vmoba(tau):
    tensors = {name: randn(1, 2, 4, 4, 3, 6, seed=s) for s, name in enumerate("qkv")}
    found = oracle(load_text(VMOBA, given={"tau": tau}))(**tensors).flatten(2, -2)
    for head in range(2):
        q, k, v = (tensors[name][0, head].flatten(0, 2) for name in "qkv")
        keep, mask = vmoba(q, k, v, tau)
        close(found[0, head], dense(q, k, v, mask))
        if tau == 0:
            assert keep.sum() == len(q) + 1, "every query its own block, and one more pair"
        if tau > 1:
            assert keep.all()


def test_vmoba_of_a_constant_gate_sees_everything():
    tensors = {
        "q": randn(1, 1, 4, 4, 3, 6),
        "k": torch.ones(1, 1, 4, 4, 3, 6),
        "v": randn(1, 1, 4, 4, 3, 6, seed=2),
    }
    tensors["q"] = torch.ones_like(tensors["q"])
    q, k, v = (t.double().flatten(2, -2) for t in tensors.values())
    close(oracle(load_text(VMOBA))(**tensors).flatten(2, -2), scaled_dot_product_attention(q, k, v))


# --- MInference -----------------------------------------------------------------------------------

MINFERENCE = """
attention minference(nv = 3, ns = 4) {
  tokens x[n]
  tokens p[6]
  require n >= 6
  input q, k, v : x
  last = gather(q, p, i + n - 6)
  W = weights(last, k, where = j <= i + n - 6)
  col = top(sum(W, by = j), nv, always = i < 2)
  dia = top(sum(W, x, by = i + n - 6 - j), ns, always = i < 3)
  return attend(q, k, v, where = causal and (col[j] or dia[max(i - j, 0)]))
}
"""


def minference(q, k, v, nv, ns, probe=6, forced=(2, 3)):
    """Vertical-slash of one head: forced entries count as infinite, then the largest."""
    n = len(q)
    s = (q[-probe:] @ k.T) / math.sqrt(q.shape[-1])
    hidden = torch.arange(n) > torch.arange(n - probe, n)[:, None]
    p = s.masked_fill(hidden, -torch.inf).softmax(-1)
    columns, offsets = p.sum(0), torch.zeros(n, dtype=p.dtype)
    for row in range(probe):
        for j in range(n - probe + row + 1):
            offsets[n - probe + row - j] += p[row, j]
    columns[: forced[0]], offsets[: forced[1]] = torch.inf, torch.inf
    vertical, slash = columns.topk(min(nv, n)).indices, offsets.topk(min(ns, n)).indices
    i, j = torch.arange(n)[:, None], torch.arange(n)
    return (j <= i) & (torch.isin(j, vertical) | torch.isin(i - j, slash))


@pytest.mark.parametrize(("nv", "ns"), [(2, 3), (3, 5), (20, 3), (2, 20)])
def test_minference(nv, ns):
    tensors = {name: randn(2, 2, 16, 5, seed=s) for s, name in enumerate("qkv")}
    found = oracle(load_text(MINFERENCE, given={"nv": nv, "ns": ns}))(**tensors)
    for b in range(2):
        for h in range(2):
            q, k, v = (tensors[name][b, h] for name in "qkv")
            mask = minference(q, k, v, nv, ns)
            assert mask.any(-1).all()
            assert nv < 16 > ns or mask.equal(torch.ones(16, 16).tril() > 0)
            close(found[b, h], dense(q, k, v, mask))


# --- MoH ------------------------------------------------------------------------------------------

MOH = """
attention moh(count = 2) {
  tokens x[n]
  input q, k, v : x
  input router : x scalar
  r = softmax(router, over = heads)
  keep = top(r, count, over = heads)
  gate = count * r / sum(r if keep else 0, over = heads) if keep else 0
  loss balance = heads * sum(mean(r, over = x) * mean(1.0 if keep else 0.0, over = x), over = heads)
  return attend(q, k, v) * gate
}
"""


def test_moh():
    tensors = {name: randn(1, 4, 6, 5, seed=s) for s, name in enumerate("qkv")}
    router = randn(1, 4, 6, seed=7)
    router[:, :, 2] = 0.5  # a tie: the lowest heads
    meaning = oracle(load_text(MOH)).run({**tensors, "router": router})
    p = router.softmax(1)
    gate, chosen = torch.zeros_like(p), torch.zeros_like(p)
    for i in range(6):
        order = sorted(range(4), key=lambda e: (-float(p[0, e, i]), e))[:2]
        chosen[0, order, i] = 1.0
        gate[0, order, i] = 2 * p[0, order, i] / p[0, order, i].sum()
    close(meaning.results[0][0], scaled_dot_product_attention(*tensors.values()) * gate.unsqueeze(-1))
    close(meaning.losses["balance"], 16 * (p.mean(2) * chosen.mean(2)).mean())
    close(gate.sum(1), torch.full((1, 6), 2.0, dtype=torch.float64))


def test_moh_with_uniform_routers_is_plain_attention():
    tensors = {name: randn(1, 4, 6, 5, seed=s) for s, name in enumerate("qkv")}
    router = torch.zeros(1, 4, 6)
    meaning = oracle(load_text(MOH, given={"count": 4})).run({**tensors, "router": router})
    close(meaning.results[0][0], scaled_dot_product_attention(*tensors.values()))
    close(meaning.losses["balance"], torch.tensor(4.0, dtype=torch.float64))


# --- HyperAttention -------------------------------------------------------------------------------

HYPER = """
attention hyper(b = 4) {
  tokens x[n]
  tokens r[m]
  input q, k, v : x
  input hq, hk : x scalar
  input pick : r int
  rq = rank(hq)
  rk = rank(hk)
  at = clamp(pick[i], 0, n - 1)
  near = attend(q, k, v, where = rq[i] // b == rk[j] // b)
  far = attend(q, gather(k, r, at), gather(v, r, at), where = rq[i] // b != rk[clamp(pick[j], 0, n - 1)] // b, bias = log(n / m))
  return joint(near, far)
}
"""


def hyper_inputs(n=12, m=5):
    tensors = {name: randn(1, 2, n, 4, seed=s) for s, name in enumerate("qkv")}
    generator = torch.Generator().manual_seed(9)
    buckets = {name: torch.randint(0, 4, (1, 2, n), generator=generator).double() for name in ("hq", "hk")}
    return {**tensors, **buckets, "pick": torch.randint(0, n, (1, m), generator=generator)}


def test_hyper_attention():
    """Sorted, cut in blocks; the sample counts n / m times and skips the query's own block; then unsorted."""
    tensors = hyper_inputs()
    found = oracle(load_text(HYPER))(**tensors)
    for h in range(2):
        q, k, v = (tensors[name][0, h] for name in "qkv")
        order_q, order_k = (np.argsort(tensors[name][0, h].numpy(), kind="stable") for name in ("hq", "hk"))
        block_of_key = {int(token): place // 4 for place, token in enumerate(order_k)}
        expected = torch.empty_like(q)
        for place, i in enumerate(order_q):
            near = [int(j) for j in order_k[place // 4 * 4 : place // 4 * 4 + 4]]
            far = [int(j) for j in tensors["pick"][0] if block_of_key[int(j)] != place // 4]
            s = torch.cat([q[i] @ k[near].T / 2, q[i] @ k[far].T / 2 + math.log(12 / 5)])
            expected[i] = s.softmax(-1) @ v[near + far]
        close(found[0, h], expected)


def test_hyper_attention_with_every_key_sampled_once_is_exact():
    tensors = {**hyper_inputs(m=12), "pick": torch.arange(12)[None]}
    expected = scaled_dot_product_attention(*(tensors[name] for name in "qkv"))
    close(oracle(load_text(HYPER))(**tensors), expected)
