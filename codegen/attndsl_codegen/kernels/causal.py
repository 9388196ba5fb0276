"""Causal sums of plain products with a carried state: linear in the tokens, forward and backward.

y[i] = sum over j <= i of (q[i] . k[j]) exp(a[i] - a[j]) v[j]            a: the decay; zero without one

Pairs within a chunk are multiplied out; what came before reaches it through a state, (width, value width).
A few chunks are computed together, their states from one small matrix of the decays between them
(Katharopoulos et al., Transformers are RNNs, 2020; Sun et al., Retentive networks, 2023, chunkwise form).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CAUSAL_CHUNK = 64
"""Queries whose pairs are multiplied out."""
CAUSAL_CHUNKS = 64
"""Chunks that are computed together, of one head or of several."""


class CausalProducts(torch.autograd.Function):
    """y[i] = sum over j <= i of (q[i] . k[j]) v[j], and the sums of the products q[i] . k[j] themselves.

    With a decay, terms are multiplied by exp(decay[i] - decay[j]). Only the arguments are kept for the
    backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, decay: Tensor | None, sums: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Both sums, (batch, heads, tokens, width) and, if asked for, (batch, heads, tokens, 1)."""
        ctx.save_for_backward(q, k, v, decay)
        values = (v, ones_for(v)) if sums else (v,)
        found = tuple(v.new_empty(*q.shape[:3], part.shape[-1]) for part in values)
        for along in token_stretches(q):
            state = no_state(k, values)
            for span in along:
                left, queries, keys = span.left(decay, q), span.of(q), span.of(k)
                columns = span.of(*values)
                states = running_states(left, state, keys, columns)
                sum_here = left.hide(queries @ keys.transpose(-1, -2)) @ columns
                sum_here += left.from_state(queries) @ states[:, :-1]
                state = states[:, -1:]
                for whole, part in zip(found, sum_here.split([part.shape[-1] for part in values], -1)):
                    span.of(whole).copy_(part)
        return found[0], found[1] if sums else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor, grad_sums: Tensor | None) -> tuple[Tensor | None, ...]:
        """States run forwards once more, then their gradients backwards.

        A decay gets what queries get along themselves, less what keys get along themselves.
        """
        q, k, v, decay = ctx.saved_tensors
        values = (v,) if grad_sums is None else (v, ones_for(v))
        upstream = (grad_out,) if grad_sums is None else (grad_out, grad_sums)
        grads = tuple(t.new_empty(t.shape) for t in (q, k, v))
        for along in token_stretches(q):
            befores = [no_state(k, values)]
            for span in along[:-1]:
                left = span.left(decay, q)
                befores.append(running_states(left, befores[-1], span.of(k), span.of(*values))[:, -1:])
            grad_state = no_state(k, values)
            for span, before in zip(reversed(along), reversed(befores)):
                parts = span.of(q), span.of(k), span.of(*values), span.of(*upstream)
                found, grad_state = span_gradients(span.left(decay, q), before, grad_state, *parts)
                for whole, part in zip(grads, found):
                    span.of(whole).copy_(part[..., : whole.shape[-1]])
        grad_decay = None
        if ctx.needs_input_grad[3]:
            along_themselves = ((t * grad).sum(-1, keepdim=True) for t, grad in zip((q, k), grads))
            grad_decay = next(along_themselves).sub_(next(along_themselves)).double()
        return *grads, grad_decay, None


def span_gradients(
    left: Left, before: Tensor, grad_state: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Gradients of the q, k and v of a span, and of the state before it.

    Args:
        before: the state before it.
        grad_state: the gradient of the state after it.
        q, k, v, g: (heads, chunks, tokens, width); g is the gradient of the sums.
    """
    near = left.hide(q @ k.transpose(-1, -2))
    grad_near = left.hide(g @ v.transpose(-1, -2))
    states = running_states(left, before, k, v)[:, :-1]
    read, written = left.from_state(q), left.to_state(k)
    grad_states = torch.cat([read.transpose(-1, -2) @ g, grad_state.expand(len(q), -1, -1, -1)], 1)
    grad_added = states_carried(left.carries.transpose(-1, -2), grad_states)
    grad_state, grad_added = grad_added[:, :1], grad_added[:, 1:]
    grad_q = left.from_state(g @ states.transpose(-1, -2))
    grad_q += grad_near @ k
    grad_k = left.to_state(v @ grad_added.transpose(-1, -2))
    grad_k += grad_near.transpose(-1, -2) @ q
    grad_v = near.transpose(-1, -2) @ g
    grad_v += written @ grad_added
    return (grad_q, grad_k, grad_v), grad_state


def running_states(left: Left, before: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The state that every chunk of a span finds, and the one after the last: (heads, chunks + 1, ...)."""
    added = left.to_state(k).transpose(-1, -2) @ v
    return states_carried(left.carries, torch.cat([before.expand(len(added), -1, -1, -1), added], 1))


def states_carried(carries: Tensor, states: Tensor) -> Tensor:
    """Sums of states (heads, chunks + 1, ...), each multiplied by what is left of it."""
    return (carries @ states.flatten(2)).view(states.shape)


def no_state(k: Tensor, values: tuple[Tensor, ...]) -> Tensor:
    """The state before the first token."""
    return k.new_zeros(1, 1, k.shape[-1], sum(part.shape[-1] for part in values))


def ones_for(v: Tensor) -> Tensor:
    """A channel of ones for every token, without memory of its own."""
    return v.new_ones(1, 1, 1, 1).expand(*v.shape[:3], 1)


class Span(NamedTuple):
    """Some chunks of neighbouring tokens, of some heads of a batch element."""

    element: int
    heads: slice
    tokens: slice
    chunks: int

    def of(self, *columns: Tensor) -> Tensor:
        """These tokens of tensors side by side, (heads, chunks, tokens, width); of one tensor, a view."""
        at = self.element, self.heads, self.tokens
        parts = [whole[at].unflatten(1, (self.chunks, -1)) for whole in columns]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def left(self, decay: Tensor | None, like: Tensor) -> Left:
        """What a decay (batch, heads, tokens, 1) leaves here.

        A state is that of the first token of a chunk. Decays are subtracted before they are rounded: changes
        of large sums are small.

        Args:
            like: a tensor of the type and device wanted.
        """
        if decay is None:
            return Left(None, like.new_ones(1, self.chunks + 1, self.chunks + 1).tril_())
        chunks = self.of(decay)
        after = min(self.tokens.stop, decay.shape[2] - 1)
        following = decay[self.element, self.heads, after : after + 1].unsqueeze(1)
        firsts = torch.cat([chunks[:, :, :1], following], 1)
        since, until = (once_for_all(x, like) for x in (chunks - firsts[:, :-1], firsts[:, 1:] - chunks))
        between = firsts.flatten(1).unsqueeze(2) - firsts.flatten(1).unsqueeze(1)
        return Left(since.to(like), between.to(like).exp_().tril_(), until.to(like).exp_())


def once_for_all(chunks: Tensor, like: Tensor) -> Tensor:
    """The first chunk of (heads, chunks, ...) for all, where they differ by less than rounding; on a CPU."""
    if chunks.device.type != "cpu" or chunks.shape[1] == 1:
        return chunks
    differ = (chunks - chunks[:, :1]).abs_().amax()
    return chunks[:, :1] if differ < torch.finfo(like.dtype).eps / 8 else chunks


class Left(NamedTuple):
    """What a decay leaves of things; everything where there is none.

    Attributes:
        since: the logarithm of what is left of the state at every token, (heads, chunks, tokens, 1).
        carries: of the state of one chunk in that of another, (heads, chunks + 1, chunks + 1).
        until: of every token in the next state.
    """

    since: Tensor | None
    carries: Tensor
    until: Tensor | None = None

    def hide(self, near: Tensor) -> Tensor:
        """Products of pairs within a chunk: later keys become zero, the others what is left, in place."""
        if self.since is not None:
            near *= (self.since - self.since.transpose(-1, -2)).exp_()  # of hidden pairs it may be infinite
        return near.tril_()

    def from_state(self, queries: Tensor) -> Tensor:
        """Queries times what is left of the state there."""
        return queries if self.since is None else queries * self.since.exp()

    def to_state(self, keys: Tensor) -> Tensor:
        """Keys times what is left of them in the next state."""
        return keys if self.until is None else keys * self.until


def token_stretches(q: Tensor) -> Iterator[list[Span]]:
    """The spans of all tokens, for some heads at a time."""
    batch, heads, tokens = q.shape[:3]
    together = max(1, CAUSAL_CHUNK * CAUSAL_CHUNKS // max(1, tokens))
    chunks = tokens // CAUSAL_CHUNK
    ends = [*range(0, chunks, CAUSAL_CHUNKS), chunks] if chunks else [0]
    places = [(slice(CAUSAL_CHUNK * a, CAUSAL_CHUNK * b), b - a) for a, b in pairwise(ends)]
    if tokens % CAUSAL_CHUNK:
        places.append((slice(CAUSAL_CHUNK * chunks, tokens), 1))
    for element in range(batch if places else 0):
        for first in range(0, heads, together):
            yield [Span(element, slice(first, min(first + together, heads)), *place) for place in places]
