"""A batch of chains dealt out to the cores: each share runs on its own, in a thread of its own, on one core.

A second thread inside the operations of a small network gains almost nothing, since none of them lasts long. A second
chain beside the first one does: no share waits for another, but for random numbers (see ``draws.py``).
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from .draws import Part, SharedDraws, Stopped
from .hmc import HMC
from .langevin import Langevin, ProximalLangevin
from .mala import MALA
from .protocol import Energy, Kernel, every_module
from .purity import is_pure
from .settings import check_count

LEAST_ROWS = 8  # of a share
LEAST_WORK = 1e6  # of a share without convolutions: products of a weight and a number, once through the network
DIVISIBLE = (Langevin, ProximalLangevin, MALA, HMC)  # they draw through metropolis.py alone, the same for all chains
Result = TypeVar("Result")


def how_many(shares: int | None, energy: Energy, x0: Tensor, kernel: Kernel) -> int:
    """In how many shares a batch of chains runs; one means undivided.

    Args:
        shares: as many, for any energy whose chains do not depend on each other. None: as many as PyTorch has threads
            or as $GEN_CHAINS says if that is fewer, where it pays, for networks.

    Raises:
        ValueError: a number of shares that makes no sense.
    """
    if shares is not None:
        check_count("shares", shares)
    known = type(kernel).step in [kind.step for kind in DIVISIBLE]
    if x0.device.type != "cpu" or not x0.numel() or x0.ndim == 0 or not known or not is_pure(energy):
        return 1
    if shares is not None:
        return min(shares, len(x0))
    most = min(_allowed(), torch.get_num_threads(), len(x0) // LEAST_ROWS)
    return most if most > 1 and _can_be_divided(energy, len(x0)) and _is_work(energy, len(x0) // most) else 1


def _allowed() -> int:
    said = os.environ.get("GEN_CHAINS", "").strip()
    if said and not (said.isdecimal() and int(said)):
        raise ValueError(f"GEN_CHAINS says how many shares of a batch of chains run at once, 1 or more; it is {said!r}")
    return int(said or 2**31)


def _can_be_divided(energy: Energy, n_rows: int) -> bool:
    """It knows its rows, or is a network, or one of its methods, that is tied to none."""
    if hasattr(energy, "for_rows"):
        return True
    network = getattr(energy, "__self__", energy)
    return isinstance(network, nn.Module) and not any(
        hasattr(module, "for_rows")
        or any(isinstance(held, Tensor) and held.shape[:1] == (n_rows,) for held in vars(module).values())
        for module in every_module(network)
    )


def _is_work(energy: Energy, n_rows: int) -> bool:
    modules = list(every_module(energy))
    if any(isinstance(module, nn.modules.conv._ConvNd) for module in modules):
        return True
    weights = [weight for module in modules for weight in module._parameters.values() if weight is not None]
    return n_rows * sum(weight.numel() for weight in weights) > LEAST_WORK


def in_shares(
    work: Callable[[slice, Part], Result], n_rows: int, n_shares: int, generator: torch.Generator | None
) -> list[Result]:
    """``work(rows, part)`` for each share of the rows, all at once.

    An error in one share, or an interrupt, ends all of them. PyTorch's number of threads is as before afterwards.

    Args:
        work: runs one share; asks its energy through ``part.watched`` and hands ``part`` to its kernel as generator.
    """
    draws = SharedDraws(generator, n_rows, n_shares)
    edges = [i * n_rows // n_shares for i in range(n_shares + 1)]
    shares = [slice(*pair) for pair in pairwise(edges)]
    found: dict[int, Result] = {}
    errors: list[BaseException] = []
    begun: list[int] = []
    ended: list[int] = []
    news: queue.SimpleQueue[None] = queue.SimpleQueue()
    surroundings = _surroundings()

    def run(i: int) -> None:
        begun.append(i)
        try:
            if draws.stopped:
                return
            torch.set_num_threads(1)  # this thread's, and that of threads to come
            with surroundings():
                found[i] = work(shares[i], Part(draws, shares[i]))
        except Stopped:
            pass
        except BaseException as error:
            errors.append(error)
            draws.stop()
        finally:
            ended.append(i)
            news.put(None)

    def wait_until(finished: Callable[[], bool]) -> None:
        # Not Thread.join: interrupted, it may take the thread for ended. The time limit is for interrupts that wake
        # nobody, and for news that an interrupt has lost.
        while not finished():
            with contextlib.suppress(queue.Empty):
                news.get(timeout=0.05)

    n_threads = torch.get_num_threads()
    try:
        for i in range(n_shares):
            threading.Thread(target=run, args=(i,), name=f"chains {i}", daemon=True).start()
        wait_until(lambda: len(ended) == n_shares)
    except BaseException:
        draws.stop()
        wait_until(lambda: len(ended) == len(begun))
        raise
    finally:
        torch.set_num_threads(n_threads)
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()  # an error that its own frames hold would keep their tensors
    return [found[i] for i in range(n_shares)]


def _surroundings() -> Callable[[], contextlib.ExitStack]:
    """What PyTorch keeps for each thread and a new one does not inherit."""
    gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def inherited() -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        stack.enter_context(torch.inference_mode(inference))
        stack.enter_context(torch.set_grad_enabled(gradients))
        stack.enter_context(torch.autocast("cpu", dtype=dtype, enabled=autocast))
        return stack

    return inherited
