"""``sample``: run a batch of chains, and what comes back."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from .draws import Part
from .fast import fast_copy, in_layout
from .protocol import Energy, Kernel, State, for_rows, frozen
from .settings import check_count, check_start
from .shares import how_many, in_shares


class ChainDiverged(RuntimeError):
    """A chain met an energy that is not finite."""


@dataclass(frozen=True)
class Chain:
    """The result of ``sample``; all tensors are detached."""

    x: Tensor  # (B, *event) last states, on x0's device and dtype
    path: Tensor | None  # (K, B, *event) every keep_every-th state
    energy: Tensor  # (n_steps, B) energy of the state after each step
    accept_rate: float  # share of proposals accepted; 1.0 for kernels without a test, NaN when no step was made
    n_diverged: int = 0  # proposals rejected because their energy was not finite (MALA and HMC)


class Walk(NamedTuple):
    """What the steps of a chain leave, stacked over the steps; None where there is nothing."""

    x: Tensor  # (B, *event)
    energy: Tensor  # (n_steps, B)
    accepted: Tensor | None = None  # (n_steps, B) bool
    diverged: Tensor | None = None  # (n_steps, B) bool
    path: Tensor | None = None  # (K, B, *event)


def sample(
    energy: Energy,
    x0: Tensor,
    kernel: Kernel,
    n_steps: int,
    *,
    keep_every: int | None = None,
    generator: torch.Generator | None = None,
    fast: bool | torch.dtype = False,
    shares: int | None = None,
) -> Chain:
    """Run ``n_steps`` of ``kernel`` from every row of ``x0``, all chains side by side.

    The energy's weights want no gradient while the chain runs, and are as they were afterwards.

    On a processor the batch is dealt out to the cores where that pays: each share runs in a thread of its own. The
    random numbers are those of the whole batch, so the chains are the same for any number of shares up to rounding, and
    the same bit for bit for the same number. An energy that is tied to its rows, by a label for each, has a method
    ``for_rows(rows)`` for this.

    Args:
        energy: callable (B, *event) -> (B,), low = likely.
        x0: (B, *event) starts; not modified.
        kernel: what one step does, such as ``Langevin(step_size=0.01)``.
        keep_every: keep every so-many-th state in ``chain.path``.
        generator: the one source of randomness; PyTorch's global one when None.
        fast: True lets the chain run in the arithmetic this machine does fastest, a dtype in that one (see
            ``fast_copy``). For energies that are modules, others run as they are. Energies change by rounding error.
        shares: into how many the batch is dealt. None: networks into as many as PyTorch has threads, or as the
            environment variable GEN_CHAINS says if that is fewer, and not at all where shares would be small. A number
            deals out any energy: it must be a function of each chain alone. One in which dropout or batch norm is in
            training mode never is, and runs undivided.

    Raises:
        ChainDiverged: a state's energy is NaN or infinite; says at which step and what to try. (MALA and HMC
            reject such a proposal instead, and count it in ``chain.n_diverged``.)
        ValueError: a start that is empty, not finite, not floating point or outside the kernel's bounds, an energy
            that does not return one number a sample, or counts that make no sense.
    """
    x0 = checked_start(x0, n_steps, keep_every)
    n_shares = how_many(shares, energy, x0, kernel)
    if n_steps == 0:
        kept = None if keep_every is None else x0.new_zeros((0, *x0.shape))
        return Chain(x0, kept, x0.new_zeros((0, len(x0))), math.nan)
    on_cpu = x0.device.type == "cpu"  # reading a value stalls a GPU: there all are looked at in the end
    if on_cpu:
        keep_freed_memory()
    if isinstance(energy, nn.Module):
        energy = fast_copy(energy, x0.device, None if fast is True else fast) if fast else in_layout(energy, x0)

    def watch(energies: Tensor, t: int) -> None:
        if on_cpu or t == 0:
            check_finite(energies, t, kernel, len(x0))

    def run(energy: Energy, x0: Tensor, generator: torch.Generator | None) -> Walk:
        state = kernel.init(energy, x0)
        watch(state.energy, 0)
        return steps(energy, state, kernel, n_steps, generator, keep_every, watch)

    def run_share(rows: slice, part: Part) -> Walk:
        # Its kernel draws through metropolis.py, where a part is as good as a generator.
        return run(part.watched(for_rows(energy, rows)), x0[rows], cast(torch.Generator, part))

    with frozen(energy):
        if n_shares == 1:
            walk = run(energy, x0, generator)
        else:
            walk = _side_by_side(in_shares(run_share, len(x0), n_shares, generator))
    if not on_cpu:
        check_trace(walk.energy, kernel)
    return as_chain(walk, x0.dtype)


def steps(
    energy: Energy,
    state: State,
    kernel: Kernel,
    n_steps: int,
    generator: torch.Generator | None,
    keep_every: int | None = None,
    watch: Callable[[Tensor, int], None] | None = None,
) -> Walk:
    """All steps from a state; ``watch(energies, t)`` looks at each."""
    energies, accepted, diverged, path = [], [], [], []
    for t in range(1, n_steps + 1):
        state = kernel.step(energy, state, t, n_steps, generator)
        energies.append(state.energy)
        if watch is not None:
            watch(state.energy, t)
        if state.accept is not None:
            accepted.append(state.accept)
            diverged.append(state.diverged)
        if keep_every is not None and t % keep_every == 0:
            path.append(state.x)
    tested = [torch.stack(values) if values else None for values in (accepted, diverged)]
    kept = None
    if keep_every is not None:
        kept = torch.stack(path) if path else state.x.new_zeros((0, *state.x.shape))
    return Walk(state.x, torch.stack(energies), tested[0], tested[1], kept)


def _side_by_side(walks: Sequence[Walk]) -> Walk:
    """The walk of the whole batch from those of its shares."""

    def joined(parts: Iterable[Tensor | None]) -> Tensor | None:
        there = [part for part in parts if part is not None]
        return torch.cat(there, 1) if there else None

    return Walk(
        torch.cat([walk.x for walk in walks]),
        torch.cat([walk.energy for walk in walks], 1),
        joined(walk.accepted for walk in walks),
        joined(walk.diverged for walk in walks),
        joined(walk.path for walk in walks),
    )


def as_chain(walk: Walk, dtype: torch.dtype) -> Chain:
    rate = 1.0 if walk.accepted is None else float(walk.accepted.double().mean())
    lost = 0 if walk.diverged is None else int(walk.diverged.sum())
    return Chain(walk.x.to(dtype), walk.path, walk.energy, rate, lost)


def checked_start(x0: Tensor, n_steps: int, keep_every: int | None = None) -> Tensor:
    """The start, detached.

    Raises:
        ValueError: numbers of steps that make no sense, or a start from which no chain can begin.
    """
    check_count("n_steps", n_steps, 0)
    if keep_every is not None:
        check_count("keep_every", keep_every)
    if n_steps == 0:  # otherwise the kernel looks at it, its own walls included
        check_start(x0, None)
    return x0.detach()


@functools.cache
def keep_freed_memory() -> None:
    """Once a process: let the allocator keep up to 64 MB of freed memory instead of returning it at every step.

    A gradient call allocates and frees the network's activations. The C library hands freed memory at the top of
    the heap back to the system, and the next call faults its pages in again, which cost 13-23 % of the processor
    time of a chain on the MNIST energy, in one thread. glibc raises that threshold to twice the largest block it
    has seen freed, 32 MB at most; this block is never written to, so it costs nothing. Elsewhere than on glibc it
    does no harm.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def check_finite(energy: Tensor, t: int, kernel: Kernel, n_chains: int | None = None) -> None:
    """Raise ``ChainDiverged`` when one of the energies (B,) after step t is not finite; t = 0 is the start.

    Args:
        n_chains: of the whole batch, where these are a share of it.
    """
    if math.isfinite(energy.sum().item()):
        return  # the sum of finite numbers is finite, unless it overflows: then look closely
    bad = ~torch.isfinite(energy)
    if bad.any():
        known = "at least " if n_chains not in (None, len(energy)) else ""
        some = f"{known}{int(bad.sum())} of {n_chains or len(energy)} chains have a non-finite energy"
        if t == 0:
            raise ChainDiverged(f"{some} at the start, before any step of {kernel}; check the energy itself there")
        raise ChainDiverged(
            f"{some} after step {t} of {kernel}; "
            "try a smaller step_size, a grad_clip, or bounds, and check the energy itself on the start"
        )


def check_trace(energies: Tensor, kernel: Kernel) -> None:
    """``check_finite`` for all steps at once, energies (n_steps, B)."""
    for t in (~torch.isfinite(energies)).any(dim=1).nonzero().flatten()[:1].tolist():
        check_finite(energies[t], t + 1, kernel)
