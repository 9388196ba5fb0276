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
)
