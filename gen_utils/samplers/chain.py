"""``sample``: run a batch of chains, and what comes back."""

from __future__ import annotations

import copy
import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .graphs import Walk, replayed
from .kernels import Energy, State


class ChainDiverged(RuntimeError):
    """A chain met an energy that is not finite."""


@dataclass(frozen=True)
class Chain:
    """The result of ``sample``; all tensors are detached."""

    x: Tensor  # (B, *event) last states, on x0's device and dtype
    path: Tensor | None  # (K, B, *event) every keep_every-th state
    energy: Tensor  # (n_steps, B) energy of the state after each step
    accept_rate: float  # share of proposals accepted; 1.0 for kernels without a test
    n_diverged: int = 0  # proposals rejected because their energy was not finite (MALA and HMC)


def sample(
    energy: Energy,
    x0: Tensor,
    kernel,
    n_steps: int,
    *,
    keep_every: int | None = None,
    generator: torch.Generator | None = None,
    fast: bool | torch.dtype = False,
) -> Chain:
    """Run ``n_steps`` of ``kernel`` from every row of ``x0``, all chains side by side.

    On a GPU a chain that comes back with the same network and settings is recorded, and from then on replayed
    (``graphs.py``).

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
    if n_steps < 0:
        raise ValueError(f"n_steps must be zero or more, got {n_steps}")
    if keep_every is not None and keep_every < 1:
        raise ValueError(f"keep_every must be at least 1, got {keep_every}")
    x0 = x0.detach()
    on_cpu = x0.device.type == "cpu"
    if on_cpu:
        keep_freed_memory()
    if n_steps == 0:
        return Chain(x0, None if keep_every is None else x0.new_zeros((0, *x0.shape)), x0.new_zeros((0, len(x0))), 1.0)

    def prepare(network: Energy) -> Energy:
        if fast and isinstance(network, nn.Module):
            return fast_copy(network, x0.device, None if fast is True else fast)
        return network

    def steps(network: Energy, state: State, stream: torch.Generator | None) -> Walk:
        return _walk(network, state, kernel, n_steps, keep_every, stream, check_each=on_cpu)

    chain_energy = prepare(energy)
    state = kernel.init(chain_energy, x0)
    check_finite(state.energy, 0, kernel)
    walk = None
    if keep_every is None:
        walk = replayed(energy, prepare, steps, state, generator, kernel, n_steps, fast)
    if walk is None:
        walk = steps(chain_energy, state, generator)
    if not on_cpu:
        for t in (~torch.isfinite(walk.energy)).any(dim=1).nonzero().flatten()[:1].tolist():
            check_finite(walk.energy[t], t + 1, kernel)
    return Chain(
        x=walk.x.to(x0.dtype),
        path=walk.path,
        energy=walk.energy,
        accept_rate=1.0 if walk.accepted is None else float(walk.accepted.double().mean()),
        n_diverged=0 if walk.diverged is None else int(walk.diverged.sum()),
    )


def _walk(
    energy: Energy, state: State, kernel, n_steps: int, keep_every: int | None, generator, *, check_each: bool
) -> Walk:
    """The steps of a chain.

    Args:
        check_each: look at every energy at once. Reading a value stalls a GPU, and ends a recording.
    """
    path, energies, accepted, diverged = [], [], [], []
    for t in range(1, n_steps + 1):
        state = kernel.step(energy, state, t, n_steps, generator)
        energies.append(state.energy)
        if check_each:
            check_finite(state.energy, t, kernel)
        if state.accept is not None:
            accepted.append(state.accept)
            diverged.append(state.diverged)
        if keep_every is not None and t % keep_every == 0:
            path.append(state.x)
    kept = None
    if keep_every is not None:
        kept = torch.stack(path) if path else state.x.new_zeros((0, *state.x.shape))
    tested = [torch.stack(values) if values else None for values in (accepted, diverged)]
    return Walk(state.x, torch.stack(energies), kept, *tested)


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


def check_finite(energy: Tensor, t: int, kernel) -> None:
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


def fast_copy(energy: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy of the energy in the arithmetic this machine does fastest, for use inside a chain.

    Channels-last layout everywhere (convolutions read it without reordering), bfloat16 weights
    where the hardware multiplies them natively. A chain needs only the direction of the gradient,
    so eight bits of mantissa are enough; the loss should be computed with the original. The copy
    costs far less than one step, and is made anew for each chain, so it never holds old weights.
    """
    if dtype is None:
        dtype = torch.bfloat16 if _fast_bfloat16(device) else torch.float32
    clone = copy.deepcopy(energy).requires_grad_(False).to(device, dtype, memory_format=torch.channels_last)
    return _Cast(clone, dtype)


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without these instructions bfloat16 is emulated, and slower than float32.
    return device.type == "cpu" and any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


class _Cast(nn.Module):
    def __init__(self, energy: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.energy, self.dtype = energy, dtype

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.energy(x).to(torch.promote_types(self.dtype, torch.float32))
