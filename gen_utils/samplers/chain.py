"""``sample``: run a batch of chains, and what comes back."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .fast import fast_copy
from .protocol import Energy, Kernel, frozen
from .settings import check_count, check_start


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


def sample(
    energy: Energy,
    x0: Tensor,
    kernel: Kernel,
    n_steps: int,
    *,
    keep_every: int | None = None,
    generator: torch.Generator | None = None,
    fast: bool | torch.dtype = False,
) -> Chain:
    """Run ``n_steps`` of ``kernel`` from every row of ``x0``, all chains side by side.

    The energy's weights want no gradient while the chain runs, and are as they were afterwards.

    Args:
        energy: callable (B, *event) -> (B,), low = likely.
        x0: (B, *event) starts; not modified.
        kernel: what one step does, such as ``Langevin(step_size=0.01)``.
        keep_every: keep every so-many-th state in ``chain.path``.
        generator: the one source of randomness; PyTorch's global one when None.
        fast: True lets the chain run in the arithmetic this machine does fastest, a dtype in that one (see
            ``fast_copy``); ``torch.float32`` changes the layout only. For energies that are modules, others run
            as they are. The energies change by rounding error.

    Raises:
        ChainDiverged: a state's energy is NaN or infinite; says at which step and what to try. (MALA and HMC
            reject such a proposal instead, and count it in ``chain.n_diverged``.)
        ValueError: a start that is not finite, not floating point or outside the kernel's bounds, or an energy
            that does not return one number a sample.
    """
    x0 = checked_start(x0, n_steps, keep_every)
    if n_steps == 0:
        kept = None if keep_every is None else x0.new_zeros((0, *x0.shape))
        return Chain(x0, kept, x0.new_zeros((0, len(x0))), math.nan)
    on_cpu = x0.device.type == "cpu"  # reading a value stalls a GPU: there all are looked at in the end
    if on_cpu:
        keep_freed_memory()
    if fast and isinstance(energy, nn.Module):
        energy = fast_copy(energy, x0.device, None if fast is True else fast)
    path, energies, accepted, diverged = [], [], [], []
    with frozen(energy):
        state = kernel.init(energy, x0)
        check_finite(state.energy, 0, kernel)
        for t in range(1, n_steps + 1):
            state = kernel.step(energy, state, t, n_steps, generator)
            energies.append(state.energy)
            if on_cpu:
                check_finite(state.energy, t, kernel)
            if state.accept is not None:
                accepted.append(state.accept)
                diverged.append(state.diverged)
            if keep_every is not None and t % keep_every == 0:
                path.append(state.x)
    trace = torch.stack(energies)
    if not on_cpu:
        check_trace(trace, kernel)
    kept = None
    if keep_every is not None:
        kept = torch.stack(path) if path else x0.new_zeros((0, *x0.shape))
    return Chain(
        x=state.x.to(x0.dtype),
        path=kept,
        energy=trace,
        accept_rate=float(torch.stack(accepted).double().mean()) if accepted else 1.0,
        n_diverged=int(torch.stack(diverged).sum()) if diverged else 0,
    )


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


def check_finite(energy: Tensor, t: int, kernel: Kernel) -> None:
    """Raise ``ChainDiverged`` when one of the energies (B,) after step t is not finite; t = 0 is the start."""
    if math.isfinite(energy.sum().item()):
        return  # the sum of finite numbers is finite, unless it overflows: then look closely
    bad = ~torch.isfinite(energy)
    if bad.any():
        some = f"{int(bad.sum())} of {len(energy)} chains have a non-finite energy"
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
