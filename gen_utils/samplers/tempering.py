"""Parallel tempering: chains at several temperatures side by side, which exchange their states."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..base.precision import full
from .hmc import HMC
from .mala import MALA
from .metropolis import per_chain, uniform_per_chain
from .protocol import Energy, State, for_rows, gradient_of
from .settings import check_positive


@dataclass(frozen=True)
class ParallelTempering:
    """Parallel tempering: a kernel for every temperature, and swaps of states between neighbours after each step.

    One sampler is R chains, the i-th with density exp(-E/T_i). A hot chain crosses what a cold one cannot, and hands
    down the places it has found. A swap of the states of i and i + 1 is accepted with probability min(1, ratio),

        log ratio = (1/T_i - 1/T_{i+1}) (E(x_i) - E(x_{i+1})),

    which is exact. The batch holds B samplers, temperature by temperature: R · B rows, of which the first B, at T = 1,
    are the samples of exp(-E); in a path ``path[:, :B]``.

    Args:
        kernels: ``MALA`` or ``HMC``, one a temperature and each for E/T_i; ``warm_up`` finds its step. MALA's grows
            about as T, HMC's as √T.
        temperatures: T, rising from 1.

    Raises:
        ValueError: other kernels, temperatures that do not rise from 1, or starts that are not B rows a temperature.

    Sources: Swendsen & Wang (1986); Geyer (1991).
    """

    kernels: tuple[MALA | HMC, ...]
    temperatures: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("kernels", "temperatures"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for temperature in self.temperatures:
            check_positive("temperatures", temperature)
        rising = all(cold < hot for cold, hot in pairwise(self.temperatures))
        if len(self.temperatures) < 2 or self.temperatures[0] != 1 or not rising:
            raise ValueError(f"temperatures rise from 1, such as (1.0, 3.0, 9.0), got {self.temperatures}")
        if len(self.kernels) != len(self.temperatures):
            raise ValueError(f"{len(self.temperatures)} temperatures want a kernel each, got {len(self.kernels)}")
        for kernel in self.kernels:
            if not isinstance(kernel, (MALA, HMC)):
                raise ValueError(f"only kernels with an acceptance test keep exp(-E/T), MALA and HMC, got {kernel}")

    def init(self, energy: Energy, x: Tensor) -> State:
        begun = [
            kernel.init(for_rows(energy, rows), x[rows])
            for kernel, rows in zip(self.kernels, self._blocks(len(x)), strict=True)
        ]
        return State(x, torch.cat([s.energy for s in begun]), torch.cat([gradient_of(s) for s in begun]))

    def step(self, energy: Energy, state: State, t: int, n_steps: int, generator: torch.Generator | None) -> State:
        blocks = self._blocks(len(state.x))
        chains = []
        for kernel, temperature, rows in zip(self.kernels, self.temperatures, blocks, strict=True):
            mine = State(state.x[rows], state.energy[rows], gradient_of(state)[rows])
            chains.append(_at(temperature, kernel, for_rows(energy, rows), mine, t, n_steps, generator))
        for first in (0, 1):  # the pairs 0-1, 2-3, ..., then 1-2, 3-4, ...: they cost no gradient
            for i in range(first, len(chains) - 1, 2):
                log_ratio = self._log_ratio(i, chains[i].energy, chains[i + 1].energy)
                chains[i : i + 2] = _swapped(chains[i], chains[i + 1], log_ratio, generator)
        return State(*(torch.cat(parts) for parts in zip(*chains, strict=True)))

    def swap_rates(self, energies: Tensor) -> Tensor:
        """How often neighbours swap, (R - 1,): the mean probability of it over ``chain.energy``, (n_steps, R · B)."""
        cold_to_hot = energies.double().unflatten(1, (len(self.temperatures), -1)).unbind(1)  # R of (n_steps, B)
        log_ratios = [self._log_ratio(i, *pair) for i, pair in enumerate(pairwise(cold_to_hot))]
        return torch.stack([log_ratio.clamp(max=0).exp().mean() for log_ratio in log_ratios])

    def _log_ratio(self, i: int, colder: Tensor, hotter: Tensor) -> Tensor:
        """Of a swap between temperatures i and i + 1, in the energies' shape."""
        return (1 / self.temperatures[i] - 1 / self.temperatures[i + 1]) * (full(colder) - full(hotter))

    def _blocks(self, n: int) -> list[slice]:
        """The rows of every temperature."""
        size, left = divmod(n, len(self.temperatures))
        if left:
            raise ValueError(f"{len(self.temperatures)} temperatures want as many rows each, got {n} rows in all")
        return [slice(first, first + size) for first in range(0, n, size)]


def _at(
    temperature: float,
    kernel: MALA | HMC,
    energy: Energy,
    state: State,
    t: int,
    n_steps: int,
    generator: torch.Generator | None,
) -> State:
    """A step of the kernel on E/T, from a state with E and ∇E to one with E and ∇E."""

    def heated(x: Tensor) -> Tensor:
        return energy(x) / temperature

    grad = gradient_of(state)
    before = state._replace(energy=state.energy / temperature, grad=grad / temperature)
    after = kernel.step(heated, before, t, n_steps, generator)
    assert after.accept is not None  # the kernels have a test
    return after._replace(  # who stayed keeps every bit
        energy=torch.where(after.accept, after.energy * temperature, state.energy),
        grad=torch.where(per_chain(after.accept, grad), gradient_of(after) * temperature, grad),
    )


def _swapped(colder: State, hotter: State, log_ratio: Tensor, generator: torch.Generator | None) -> tuple[State, State]:
    """Both after the test of a swap. What became of the last proposal stays with its temperature."""
    swap = torch.log(uniform_per_chain(log_ratio, generator)) < log_ratio
    wide = per_chain(swap, colder.x)

    def taking(own: State, other: State) -> State:
        return own._replace(
            x=torch.where(wide, other.x, own.x),
            energy=torch.where(swap, other.energy, own.energy),
            grad=torch.where(wide, gradient_of(other), gradient_of(own)),
        )

    return taking(colder, hotter), taking(hotter, colder)
