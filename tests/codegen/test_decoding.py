"""Decoding: queries at an offset give the rows of the full run, in generated code and by definition."""

import json

import pytest
import torch

import attndsl
from attndsl.cli.main import main
from attndsl.exact import oracle
from attndsl.ir.incremental import NotIncremental, incremental, why_not_incremental
from attndsl.language import load_text
from attndsl.verify import Case, make_inputs, make_learned

HEAD = "tokens x[n]; input q, k, v : x;"
SPECS = {
    "causal": f"{HEAD} return attend(q, k, v, where = causal)",
    "sliding": f"{HEAD} return attend(q, k, v, where = causal and sliding(3))",
    "sinks": f"{HEAD} return attend(q, k, v, where = causal and (sinks(2) or sliding(2)))",
    "blocks": f"{HEAD} return attend(q, k, v, where = causal and block(4))",
    "alibi": f"{HEAD} return attend(q, k, v, where = causal, bias = -(2 ** -(8 * (head + 1) / heads)) * (i - j))",
    "packed": f"{HEAD} input doc : x int; return attend(q, k, v, where = causal and document(doc))",
    "bias": f"{HEAD} input b : x scalar; return attend(q, k, v, where = causal, bias = b[i] * b[j] + dot(k[i], v[j]) / 9)",
    "softcap": f"{HEAD} return attend(q, k, v, where = causal, score = 9 * tanh(s / 9))",
    "rotary": f"{HEAD} return attend(rotary(q), rotary(k), v, where = causal)",
    "linear": f"{HEAD} return attend(elu(q) + 1, elu(k) + 1, v, where = causal, normalize = linear)",
    "sigmoid": f"{HEAD} return attend(q, k, v, where = causal, normalize = sigmoid)",
    "joint": f"{HEAD} tokens r[3]; learn rk, rv : r; "
    "return joint(attend(q, k, v, where = causal and sliding(5)), attend(q, rk, rv))",
    "gated": f"{HEAD} input g : x scalar; p = softmax(g, over = heads); keep = top(p, 1, over = heads); "
    "return attend(q, k, v, where = causal) * norm(q, over = width) * (p if keep else 0)",
    "two": f"{HEAD} a = attend(q, k, v, where = causal); return a, a.lse + attend(q, k, v, where = causal and sliding(1))",
}
PROGRAMS = {name: load_text(f"attention a {{ {text} }}".replace("; ", "\n")) for name, text in SPECS.items()}


def compiled(program):
    return attndsl.api.import_source(attndsl.source(program), program.name).a


def part(program, tensors, name, start, end):
    """The inputs of a step: the queries' from `start` on, the others up to `end`."""
    queries = incremental(program).queries
    found = {}
    for value in program.inputs:
        axis = 1 + (value.type.heads is not None)
        first = start if value.name in queries else 0
        found[value.name] = tensors[value.name].narrow(axis, first, end - first)
    return found


def close(found, expected, atol):
    for a, b in zip(found if isinstance(found, tuple) else (found,), expected):
        torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=atol)


def setting(name, n=21):
    program = PROGRAMS[name]
    case = Case({"n": n, "heads": 2}, dtype=torch.float64, width=4, value_width=4)
    return program, make_inputs(program, case), make_learned(program, case)


@pytest.mark.parametrize("name", PROGRAMS)
def test_token_by_token(name):
    """With the keys so far, one query at a time."""
    program, tensors, learned = setting(name)
    module = compiled(program)
    rows = [out for out, _ in oracle(program).run(tensors, learned).results]
    for at in (0, 1, 7, 8, 20):
        inputs = part(program, tensors, name, at, at + 1)
        expected = [row[:, :, at : at + 1] for row in rows]
        close(module(**inputs, **learned, offset=at), expected, 1e-10)
        close(oracle(program)(params=learned, offset=at, **inputs), expected, 1e-10)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_few_queries_among_all_keys(name):
    """A chunk of queries in the middle, with gradients."""
    program, tensors, learned = setting(name, n=70)
    module = compiled(program)
    queries = incremental(program).queries
    inputs = {}
    for value in program.inputs:
        axis, tensor = 1 + (value.type.heads is not None), tensors[value.name]
        tensor = tensor.narrow(axis, 33, 20) if value.name in queries else tensor
        inputs[value.name] = tensor.clone().requires_grad_(tensor.is_floating_point())
    real = [tensor for tensor in inputs.values() if tensor.requires_grad]
    found, exact = (
        out if isinstance(out, tuple) else (out,)
        for out in (
            module(**inputs, **learned, offset=33),
            oracle(program)(params=learned, offset=33, **inputs),
        )
    )
    rows = [out[:, :, 33:53] for out, _ in oracle(program).run(tensors, learned).results]
    close(found, rows, 1e-10)
    close(exact, rows, 1e-10)
    for a, b in zip(*(torch.autograd.grad([o.square().sum() for o in out], real) for out in (found, exact))):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_the_module_takes_an_offset():
    program, tensors, _ = setting("sliding")
    module = attndsl.compile(program)()
    whole, lse = module(**tensors, return_lse=True)
    last = part(program, tensors, "sliding", 19, 21)
    out, out_lse = module(**last, return_lse=True, offset=19)
    torch.testing.assert_close(out, whole[:, :, 19:], rtol=0, atol=1e-12)
    torch.testing.assert_close(out_lse, lse[:, :, 19:], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("offset", "error", "message"),
    [
        (20, ValueError, "q: 3 queries at offset 20, but there are keys for positions 0 to 20"),
        (-1, ValueError, "q: 3 queries at offset -1"),
        (1.0, TypeError, "offset: expected an integer, got float"),
        (True, TypeError, "offset: expected an integer, got bool"),
    ],
)
def test_a_wrong_offset(offset, error, message):
    program, tensors, _ = setting("causal")
    with pytest.raises(error, match=message):
        compiled(program)(**{**tensors, "q": tensors["q"][:, :, :3]}, offset=offset)


def test_short_queries_without_an_offset_are_an_error():
    program, tensors, _ = setting("causal")
    with pytest.raises(ValueError, match=r"\w: .*tokens"):
        compiled(program)(**{**tensors, "q": tensors["q"][:, :, :3]})


REASONS = {
    f"{HEAD} return attend(q, k, cumsum(v, axis = n), where = causal)": "`cumsum` looks along tokens (cumsum)",
    f"{HEAD} return attend(q, k, v, where = causal) + depthwise(v, 3)": "`depthwise` looks along tokens (depthwise)",
    f"{HEAD} return attend(q, k, v, where = causal) + v": "`v` is needed for the queries at hand and for every key",
    f"{HEAD} return attend(q, k, attend(q, k, v))": "`attend` attends for every key",
    f"{HEAD} return attend(q, q, v)": "`q` is needed for the queries at hand and for every key",
    f"{HEAD} return attend(k, k, k) * q": "`k` is needed for the queries at hand and for every key",
    f"{HEAD} c = codebook(k, 4); loss commit = c.loss; return attend(q, c.hat, v)": "the loss `commit` is about all tokens",
    f"{HEAD} return attend(q, k, v) * mean(q, over = x)": "`mean` looks along tokens (mean)",
    "tokens x[h, w]; input q, k, v : x; return attend(q, k, v)": "x[h, w] has 2 axes, and only a sequence has an offset",
    "tokens x[n]; tokens y[m]; input q : x; input k, v : y; return attend(q, k, v)":
        "no attend has its queries and keys on one token set",
    f"{HEAD} input f : x scalar; r = rank(f); return attend(q, k, v, where = r[j] <= r[i])": "`r` looks along tokens (rank)",
    f"{HEAD} input f : x scalar; m = top(f[j], 3, over = j, where = causal); return attend(q, k, v, where = m)":
        "`m` looks along tokens (top)",
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), REASONS.items(), ids=range(len(REASONS)))
def test_why_a_program_cannot_decode(text, reason):
    program = load_text(f"attention a {{ {text} }}".replace("; ", "\n"))
    assert why_not_incremental(program) == reason


def test_explain_says_how_a_program_decodes(capsys):
    for spec, words in (
        ("mla", "incremental: forward(..., offset = t) takes q, qr of the queries from position t on"),
        ("swin", "not incremental: x[h, w] has 2 axes, and only a sequence has an offset"),
    ):
        assert main(["explain", spec]) == 0
        assert words in capsys.readouterr().out
    main(["explain", "mla", "--json"])
    assert json.loads(capsys.readouterr().out)["decoding"] == {"incremental": True, "queries": ["q", "qr"]}


def test_a_program_that_cannot_decode_takes_no_offset():
    program = load_text(f"attention a {{ {HEAD} return attend(q, k, v) + v }}".replace("; ", "\n"))
    tensor = torch.randn(1, 1, 4, 4)
    with pytest.raises(TypeError, match="offset"):
        compiled(program)(tensor, tensor, tensor, offset=0)
    with pytest.raises(NotIncremental, match="`v` is needed"):
        oracle(program).run({"q": tensor, "k": tensor, "v": tensor}, offset=0)
