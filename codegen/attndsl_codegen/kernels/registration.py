"""Attends as operators of PyTorch, for whoever must not look inside: `torch.compile`, export, FLOP counters.

Every attend has two operators, forward and backward. Plans, schedules and launches happen inside of them, so
they are never traced, and sizes may be symbolic. Plain calls do not come here: a dispatch to Python takes
0.1 ms, as long as a small attend itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from attndsl_codegen.kernels.definition import query_extents
from attndsl_codegen.kernels.fields import Field
from attndsl_codegen.kernels.mechanism import Mechanism

SETTINGS = "str[] names, SymInt[] sizes, ScalarType real, ScalarType input, str backend"
"""What operators take after tensors: integers of `at` by name, `real dtype`, `input dtype`, the backend."""


class BackwardContext:
    """What the backward pass of a kernel reads, outside of autograd.

    Attributes:
        saved_tensors: operands, output, log-sum-exp, real fields.
        needs_input_grad: of mechanism and `at` (none), operands, real fields.
        plan: made anew, or found among those that are remembered.
    """

    def __init__(
        self, mechanism: type[Mechanism], at: dict[str, Any], saved: tuple[Tensor, ...], wanted: list[bool]
    ) -> None:
        self.mechanism, self.at, self.plan = mechanism, at, None
        self.saved_tensors = saved
        self.needs_input_grad = False, False, *wanted


@dataclass(frozen=True)
class AttendOperator:
    """The two operators of one attend.

    Attributes:
        name: namespace and name, e.g. `attndsl_5d1cdaf61acf::out`.
        kernel: computes the attend.
        backward: the backward pass of the kernel on a `BackwardContext`; None: the kernel runs once more.
        backend: gives the backend that is asked for, where kernels can choose.
        pairs: makes keys (or values) of two factors, where they are products on pairs of tokens.
        kinds: of the fields that are no plain ones.
        labels: int or bool fields that bias and score look up, but not the mask.
        count: the number of pairs that the attend keeps, for FLOP counters; of running sums, of queries.
        running: whether it is running sums.
    """

    name: str
    mechanism: type[Mechanism]
    kernel: Callable[..., Any]
    backward: Callable[..., Any] | None = None
    backend: Callable[[], str] | None = None
    pairs: Callable[..., Any] | None = None
    kinds: Mapping[str, type[Field]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    count: Callable[..., int] | None = None
    running: bool = False

    def __call__(self, at: dict[str, Any], q: Any, k: Any, v: Any) -> tuple[Tensor, Any]:
        """Output, and the log-sum-exp where there is one."""
        names = [name for name, size in at.items() if isinstance(size, int)]
        operands = [v] if q is None else [q, k, v] if self.pairs is None else [q, *k, *v]
        fields = [at[name].data for name in self.fields]
        backend = "auto" if self.backend is None else self.backend()
        sizes, kinds = [at[name] for name in names], (at["real dtype"], at["input dtype"])
        out, lse = self.forward_operator(*operands, *fields, names, sizes, *kinds, backend)
        return out, lse if self.has_lse else None

    @property
    def forward_operator(self) -> Any:
        """What `torch.ops` has."""
        return operator_called(self.name)

    @property
    def has_lse(self) -> bool:
        """Whether there is a log-sum-exp."""
        return self.mechanism.normalize == "softmax"

    @property
    def fields(self) -> tuple[str, ...]:
        """Real fields, then those that have no gradient."""
        return (*self.mechanism.real_fields, *self.mechanism.mask_fields, *self.labels)

    @property
    def operands(self) -> tuple[str, ...]:
        """What queries, keys and values are called."""
        if self.pairs is not None:
            return "q", "k1", "k2", "v1", "v2"
        return ("q", "k", "v") if self.mechanism.operands[0] else ("v",)

    @property
    def gradients(self) -> int:
        """How many tensors come first that may have a gradient."""
        return len(self.operands) + len(self.mechanism.real_fields)

    def schemas(self) -> tuple[str, str]:
        """Of the forward operator and of the backward operator."""
        fields = (f"field{number}" for number in range(len(self.fields)))
        tensors = ", ".join(f"Tensor {name}" for name in (*self.operands, *fields))
        saved = f"{tensors}, Tensor out, Tensor lse"
        more = f"Tensor? grad_out, Tensor? grad_lse, {saved}, bool[] wanted, {SETTINGS}"
        # A single result is no tuple.
        results = ", ".join(["Tensor"] * self.gradients)
        return f"({tensors}, {SETTINGS}) -> (Tensor, Tensor)", f"({more}) -> ({results})"

    def split(self, given: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], dict[str, Any], tuple[Any, ...]]:
        """Operands, `at` with its fields, and what follows the tensors but precedes the settings."""
        count = len(self.operands)
        operands, fields = given[:count], given[count : count + len(self.fields)]
        names, sizes, real, kind, backend = given[-5:]
        at = {**dict(zip(names, sizes)), "real dtype": real, "input dtype": kind, "backend": backend}
        at |= {name: self.kinds.get(name, Field)(data) for name, data in zip(self.fields, fields)}
        return operands, at, given[count + len(self.fields) : -5]

    def call_kernel(self, at: dict[str, Any], operands: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
        """Output and log-sum-exp by the kernel."""
        if self.pairs is not None:
            q, k, v = operands[0], self.pairs(*operands[1:3]), self.pairs(*operands[3:])
        else:
            q, k, v = operands if len(operands) == 3 else (None, None, *operands)
        return self.kernel(self.mechanism, at, q, k, v)

    def forward(self, *given: Any) -> tuple[Tensor, Tensor]:
        """The forward operator."""
        operands, at, _ = self.split(given)
        with torch.no_grad(), torch.autocast(operands[0].device.type, enabled=False):
            out, lse = self.call_kernel(at, operands)
        lse = out.new_empty(0) if lse is None else lse.to(at["real dtype"])
        return out.contiguous(), lse.contiguous()

    def forward_like(self, *given: Any) -> tuple[Tensor, Tensor]:
        """Tensors such as the forward operator returns, without their values."""
        operands, at, _ = self.split(given)
        first, last = operands[0], operands[-1]
        heads = first.shape[1] if len(operands) > 1 else at["heads"]
        queries = first.shape[2] if len(operands) > 1 else math.prod(query_extents(self.mechanism, at))
        out = first.new_empty(last.shape[0], heads, queries, last.shape[3])
        shape = out.shape[:3] if self.has_lse else (0,)
        return out, first.new_empty(shape, dtype=at["real dtype"] if self.has_lse else out.dtype)

    def gradients_of(self, grad_out: Any, grad_lse: Any, *given: Any) -> Any:
        """The backward operator: a gradient per operand and real field, empty where none is wanted."""
        operands, at, (out, lse, wanted) = self.split(given)
        tensors = given[: self.gradients]
        with torch.autocast(out.device.type, enabled=False), autograd_at_work():
            if self.backward is None:
                found = self.recomputed(at, operands, (grad_out, grad_lse), wanted)
            else:
                saved = *operands, out, lse, *tensors[len(operands) :]
                context = BackwardContext(self.mechanism, at, saved, wanted)
                found = self.backward(context, grad_out, grad_lse)[2:]
        grads = tuple(
            t.new_empty(0) if not want else torch.zeros_like(t) if g is None else g.to(t.dtype)
            for g, t, want in zip(found, tensors, wanted)
        )
        return results_of([grad.contiguous() for grad in grads])

    def gradients_like(self, grad_out: Any, grad_lse: Any, *given: Any) -> Any:
        """Tensors such as the backward operator returns, without their values."""
        wanted = given[-6]
        return results_of([t.new_empty(t.shape if want else (0,)) for t, want in zip(given, wanted)])

    def recomputed(
        self, at: dict[str, Any], operands: tuple[Tensor, ...], upstream: tuple[Any, Any], wanted: list[bool]
    ) -> list[Any]:
        """Gradients by autograd, through the kernel run once more."""
        names = self.mechanism.real_fields
        leaves = [*operands, *(at[name].data for name in names)]
        leaves = [leaf.detach().requires_grad_(want) for leaf, want in zip(leaves, wanted)]
        with torch.enable_grad():
            fields = {name: type(at[name])(leaf) for name, leaf in zip(names, leaves[len(operands) :])}
            found = self.call_kernel({**at, **fields}, tuple(leaves[: len(operands)]))
        ends = [
            (f, g) for f, g in zip(found, upstream) if g is not None and f is not None and f.requires_grad
        ]
        if not ends:
            return [None] * len(leaves)
        outputs, gradients = zip(*ends)
        inputs = [leaf for leaf in leaves if leaf.requires_grad]
        grads = iter(torch.autograd.grad(outputs, inputs, gradients, allow_unused=True))
        return [next(grads) if leaf.requires_grad else None for leaf in leaves]

    def save(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """What the forward operator keeps for its gradient."""
        tensors = inputs[:-5]
        ctx.save_for_backward(*tensors, *output)
        ctx.settings = inputs[-5:]
        ctx.set_materialize_grads(False)

    def differentiate(self, ctx: Any, grad_out: Any, grad_lse: Any) -> tuple[Any, ...]:
        """The gradient of the forward operator, by the backward operator."""
        tensors, count = ctx.saved_tensors, self.gradients
        wanted = list(ctx.needs_input_grad[:count])
        grads = operator_called(f"{self.name}_backward")(grad_out, grad_lse, *tensors, wanted, *ctx.settings)
        grads = (grads,) if isinstance(grads, Tensor) else grads
        found = [grad if want else None for grad, want in zip(grads, wanted)]
        return *found, *[None] * (len(tensors) - 2 - count + len(ctx.settings))

    def flops(self, *given: Any, out_val: Any = None) -> int:
        """FLOPs of the forward operator: two products, 2 * width each, for every pair that the mask keeps.

        What visited tiles compute for hidden pairs is not counted, nor is anything but matrix products.
        Running sums take two products of a token with the state instead. Where a mask looks up labels that
        have no values, as FakeTensors, the pairs of a mask that hides none of them: an upper bound.
        """
        pairs, width, value_width = self.counted(given)
        return 2 * pairs * (2 * width * value_width if self.running else width + value_width)

    def backward_flops(self, grad_out: Any, grad_lse: Any, *given: Any, out_val: Any = None) -> int:
        """As `flops` for the backward operator: scores once more, and the gradients of both products."""
        pairs, width, value_width = self.counted(given)
        return 2 * pairs * (6 * width * value_width if self.running else 3 * width + 2 * value_width)

    def counted(self, given: tuple[Any, ...]) -> tuple[int, int, int]:
        """The pairs of one call (of running sums, its queries), and the widths of scores and of values."""
        operands, at, _ = self.split(given)
        q, width, value_width = operands[0], operands[0].shape[3], operands[-1].shape[3]
        assert self.count is not None
        return self.count(self.mechanism, at, q), width, value_width


def results_of(tensors: list[Tensor]) -> Any:
    """As operators return them: one alone is no tuple."""
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def autograd_at_work() -> Any:
    """Kernels differentiate pieces by autograd, but operators may be called where that is shut off."""
    include, exclude = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    for key in ("AutogradFunctionality", "AutogradOther", "AutogradNestedTensor", "ADInplaceOrView"):
        exclude = exclude.remove(getattr(torch._C.DispatchKey, key))
    return torch._C._ForceDispatchKeyGuard(include, exclude)


def operator_called(name: str) -> Any:
    """An operator by namespace and name."""
    namespace, own = name.split("::")
    return getattr(getattr(torch.ops, namespace), own)


OPERATORS: dict[Any, AttendOperator] = {}
"""The operators of this file's attends, by mechanism."""


def register(name: str, mechanism: type[Mechanism], kernel: Callable[..., Any], **more: Any) -> None:
    """Makes operators of an attend; arguments as of `AttendOperator`.

    A file that is loaded again finds them: the name has the hash of the file, so they do the same.
    """
    operator = OPERATORS[mechanism] = AttendOperator(name, mechanism, kernel, **more)
    if known_operator(name):
        return
    backward = f"{name}_backward"
    tags = (torch.Tag.pt2_compliant_tag,)
    for own_name, schema in zip((name, backward), operator.schemas()):
        torch.library.define(own_name, schema, tags=tags)
    torch.library.impl(name, "CompositeExplicitAutograd", operator.forward)
    torch.library.impl(backward, "CompositeExplicitAutograd", operator.gradients_of)
    torch.library.register_fake(name, operator.forward_like)
    torch.library.register_fake(backward, operator.gradients_like)
    torch.library.register_autograd(name, operator.differentiate, setup_context=operator.save)
    if operator.count is not None:
        from torch.utils.flop_counter import register_flop_formula  # brings Triton with it, here already

        register_flop_formula(operator_called(name), get_raw=True)(operator.flops)
        register_flop_formula(operator_called(backward), get_raw=True)(operator.backward_flops)


def known_operator(name: str) -> bool:
    """Whether PyTorch has the operator."""
    namespace, own = name.split("::")
    return hasattr(getattr(torch.ops, namespace), own)


def by_operator(mechanism: type[Mechanism]) -> bool:
    """Whether a call is traced or counted, so that nobody should see what the attend does inside."""
    if torch.compiler.is_compiling():
        return mechanism in OPERATORS
    return is_in_torch_dispatch_mode() and mechanism in OPERATORS and OPERATORS[mechanism].count is not None
