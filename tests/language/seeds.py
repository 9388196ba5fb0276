"""Valid specs that together use every construct; the fuzz tests break them."""

SEEDS = (
    """# Generalised neighbourhood attention on a video.
attention hunyuan_gna(size = (18, 24, 24), stride = (16, 8, 8)) {
  tokens x[t = 30, h = 48, w = 80]
  input  q, k, v : x
  near = t: window(size[0], stride[0]) and h: window(size[1], stride[1]) and w: window(size[2], stride[2])
  return attend(q, k, v, where = near)
}
""",
    """attention dilated(size = 7, step = 2) {
  tokens x[h, w]
  input  q, k, v : x
  return attend(q, k, v, where = h: dilated_window(size, step) and w: dilated_window(size, step, stride = 3))
}
""",
    """attention alibi { tokens x[n]; input q, k, v : x
  slope = 2 ** -(8 * (head + 1) / heads)
  return attend(q, k, v, where = causal, bias = -slope * (i - j)) }
""",
    """attention softcap { tokens x[n]; input q, k, v : x
  return attend(q, k, v, where = causal, score = 50 * tanh(s / 50), scale = 1 / sqrt(q.width)) }
""",
    """attention packed {
  tokens x[n]
  input  q, k, v : x
  input  doc : x int; input keep : x bool
  return attend(q, k, v, where = causal and document(doc) and (keep[j] or doc[max(i - 1, 0)] == 0))
}
""",
    """attention cross(group = 4) {
  tokens x[n]
  tokens c[n // group]
  input  q : x
  input  k, v : c
  return attend(q, k, v, where = causal(j = j * group + group - 1), bias = 0.5 if i % 2 == 0 else -1.5)
}
""",
    """attention mixture { tokens x[n]; input q, k, v : x
  radius = (64, 512)[head % 2]
  return attend(q, k, v, where = (head < 4 and sliding(64)) or (head >= 4 and sliding(radius))) }
""",
    """pattern near(radius, factor = 2) {
  require 1 <= radius < 100 and radius * factor <= extent
  distance = abs(i - j)      # in tokens
  distance <= radius * factor
}
pattern far(radius) = not near(radius) or power(4)

attention local(r = 3) {
  tokens x[h = 16, w]
  input  q, k, v : x
  require x.w % 4 == 0 or r != 3
  a = h: near(r) and w: (far(r) or j <= i)
  b = i.h == j.h and i.w // 2 >= j.w
  z = attend(q, k, v, where = a)
  return attend(z, k, v, where = a or b), z
}
""",
    """attention chain {
  tokens x[n]
  tokens agents[m = 49]
  input  q, k, v : x
  input  a : agents
  z, y = (attend(a, k, v), attend(a, q, q))
  return attend(q, a, z), attend(q, y, attend(a, k, v))
}
""",
    """attention grid(P = 7, shift = P // 2) {
  tokens x[14, 28]
  input  q, k, v : x
  lift = block(P, shift, i = i.0, j = j.0) and block(P, shift, i = i.1, j = j.1)
  return attend(q, k, v, where = lift and ispow2(1 + abs(i.0 - j.0)))
}
""",
    """attention scalars {
  tokens x[h, w]
  input  q, k, v : x
  input  gate, decay : x scalar
  ramp = -abs(gate[i] - gate[j]) * exp(decay[j.h, i.w]) - log(1 + abs(i.w - j.w))
  return attend(q, k, v, where = (h: causal) and (w: causal), bias = ramp)
}
""",
    """attention strange { tokens x[n, m = 2 * 3]; input q, k, v : x
  one = clamp(i.n - 1, 0, x.n - 1) == j.n
  two = (min(i.n, j.n, 5) < max(i.m, 2)) != (j.m == 1 or false)
  return attend(q, k, v, where = true if one else (two == (m: sinks(1)))) }
""",
    """attention lines {
  tokens x[
    n
  ]
  input  q,
         k, v : x
  mask = causal
     and sliding(
       64
     ) or
     sinks(4)
  return attend(q, k, v,
    where = mask, bias = 1.5e-3 * i)
}
""",
    """pattern rows = i.h == j.h
attention one { tokens x[h, w]; input q, k, v : x; return attend(q, k, v, where = rows) }
pattern both(step) = dilated(step) and not (global(2) or dilated(step + 1, i = i + 1))
""",
    "attention least { tokens x[n]; input q : x; return attend(q, q, q) }",
    """attention agent(grid = (7, 7)) {
  tokens x[h, w]
  input  q, k, v : x
  learn  b1 : [49, 49] scalar shared
  a = pool(q, to = grid)
  z = attend(a, k, v, where = j.h >= 0, bias = b1[i.h * 7 + i.w, min(j.w, 48)])
  y = attend(q, a, z, where = i.h <= last(j)[0] + 8)
  return attend(q, a, z) + depthwise(v, 3), conv(v, 5, width = 8)
}
""",
    """attention swin(P = 7, shift = 3) {
  tokens x[h, w]
  input  q, k, v : x
  learn  table : [2*P - 1, 2*P - 1] scalar; learn one : [] scalar shared
  tune   shift in (0, 3)
  return attend(q, k, v, where = h: block(P, shift) and w: block(P, shift), times = one[0] * 2,
                bias = table[i.h - j.h + P - 1, i.w - j.w + P - 1])
}
""",
    """attention vq(codes = 512, L = 16) {
  tokens x[n]
  tokens cell[n // L, codes]
  input  q, k, v : x
  c = codebook(k, codes, decay = 0.9)
  loss commit = c.loss * 0.25
  t = (i // L, c.label[i])
  tot = cumsum(sum(v, by = t, cell), axis = 0); cnt = cumsum(count(by = t, cell, of = x), axis = 0)
  near = attend(q, c.hat, v, where = causal and i // L - j // L <= 1)
  far  = attend(q, gather(c.code, cell, i.1), tot / max(cnt, 1), where = j.0 == i // L - 2, bias = log(cnt[j]))
  all  = attend(q, c.code, mean(v, by = c.label), bias = log(c.count[j]))
  return joint(near, far), all, all.lse
}
""",
    """attention triple(w1 = 8) { tokens x[n]; input q, k1, k2, v1, v2 : x
  near = abs(i - j.0) < w1 and abs(i - j.1) < w1
  return attend(q, kron(k1, k2), kron(v1, v2), where = near), attend(q, k1, v1, normalize = sigmoid) }
""",
    """attention polyline {
  tokens x[h, w]
  input  q, k, v : x
  input  la, lb  : x scalar
  a = cumsum(la, axis = w)
  b = cumsum(lb, axis = 0)
  return (attend(q, k, v, bias = -abs(a[i.h, i.w] - a[i.h, j.w]) - abs(b[i.h, j.w] - b[j.h, j.w]))
        + attend(q, k, v, bias = -abs(a[j.h, i.w] - a[j.h, j.w]) - abs(b[i.h, i.w] - b[j.h, i.w]))) / 2
}
""",
    """attention core(g = 16, s0 = 64) {
  tokens x[n]
  tokens c[n // g]
  input  q, k, v : x
  a = gather(q, c, i * g + g - 1, outside = clamp)
  m = j // g == i
  cut = max(0, (i + 1 - s0) // g)
  return joint(attend(q, attend(a, k, k, where = m), attend(a, k, v, where = m), where = j < cut),
               attend(q, k, v, where = cut * g <= j and j <= i))
}
""",
    """attention layer(count = 8, kinds = 3) {
  tokens x[n <= 512]
  input  y : x flat
  input  kind : x int
  learn  place : x shared
  p = project(y, by = kind, classes = kinds)
  q, k, v = split(project(p + place, 3), count)
  z = attend(rotary(q), rotary(k, 500), v, where = causal and kind[i] >= kind[j])
  return project(flat(z), width = 64), part(flat(z), 0, 8), cat(flat(q), y)
}
""",
    """attention pools(m = 4) { tokens x[n]; input y : x flat; input gate : x scalar
  f = tanh(split(project(mean(y, over = x)) * project(y), m))
  g = sum(f, over = width)
  g2 = g / max(norm(g, over = heads), 0.000000001)
  z = (y - mean(y, over = x)) * (var(y, over = (x, width)) + 1e-8) ** -0.5
  y2 = softmax(-z ** 2 / 2, over = x) * y + max(y, over = width) * sigmoid(gate)
  loss spread = mean(z, over = (x, width))
  return attend(v = y, score = g2[j]), y2 }
""",
    """attention volo { tokens x[h, w]; tokens p[h, w, 3, 3]; input q, v : x; input near : x bool
  u = gather(v, p, (i.h + i.2 - 1, i.w + i.3 - 1), outside = zero)
  back = sum(u, by = (i.h + i.2 - 1, i.w + i.3 - 1), x) + max(u, by = (i.h, i.w), x)
  return attend(channels(q), channels(v), channels(back), scale = q.width ** -0.5, where = true),
         relu(back) + elu(v) - silu(v) * gelu(v) / (1 + softplus(v)) + sin(v) * cos(v) }
""",
    """attention linear { tokens x[n]; tokens r[4]; input q, k, v : x; input mem : r; learn rk, rv : r
  learn E : [4, 16] scalar
  low = attend(v = mem, score = E[j, i], normalize = none, on = r)
  lin = attend(elu(q) + 1, elu(k) + 1, v, normalize = linear, where = causal)
  return joint(attend(q, k, v, where = sliding(8)), attend(q, rk, rv), attend(q, mem, low)), lin }
""",
    """attention choices(keep = 2, b = 4) {
  tokens x[n]
  tokens c[n // b]
  tokens p[8]
  input  q, k, v : x
  input  h : x scalar
  kb = mean(k, c, by = i // b)
  g = minmax(dot(q[i], kb[j]), over = (i, j))
  m = mass(g, 0.9, over = j, always = j == i // b)
  best = top(h[j], 4, over = j, where = causal)
  w = weights(gather(q, p, i + x.n - 8), k, where = j <= i + x.n - 8)
  r = rank(h); e = minmax(h, over = x)
  z = attend(q, k, v) * (softmax(h, over = heads) if top(h, keep, over = heads) else 0)
  return attend(q, k, v, where = m[i, min(j // b, x.n // b - 1)] and causal), sum(w, by = j), z * e,
         attend(q, k, v, where = best or r[i] // 4 == r[j] // 4, bias = 0.1 * dot(q[i], k[j]))
}
""",
)
