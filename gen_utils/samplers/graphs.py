"""Chains as CUDA graphs: the thousands of small launches of a chain, recorded once and replayed as one.

On a GPU a chain on a small network waits for Python: each step launches a few dozen kernels, and each of them computes
for less time than its launch takes. A graph holds the launches of the whole chain. ``sample_recorded`` is ``sample``
for such chains. Nothing in the workbook calls it: no device has run it yet (``benchmarks/gpu_chains.py`` measures it
where there is one). It decides by itself:

- the first two chains of a kind run as they always do. A chain that is drawn once is not worth a recording;
- the third is recorded, which costs about three such chains, and the recording must give what the plain chain gave;
- from then on it is replayed, with the network's present weights and the caller's own random numbers.

A kind is a network, a kernel with its settings, a number of steps, a shape and a dtype. Whatever cannot be recorded
safely (see ``_kind``) or fails to be runs plainly, always. So do energies that are made anew for each chain: under
labels (``energy.given(labels)``), and in the training of a VAEBM.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from .chain import Chain, Walk, as_chain, check_finite, check_trace, checked_start, sample, steps
from .fast import fast_copy, in_layout
from .protocol import Energy, Kernel, State, energy_only, frozen

RECORD_AT = 3  # the how-manieth chain of a kind
MOST_RECORDINGS = 4  # of one network; each holds memory of its own
MOST_KINDS = 64  # of one network, recorded or counted: a step size that changes with every call makes many
MOST_GRADIENTS = 2000  # of one chain: a graph's memory, and the time to build it, grow with them


Steps = Callable[[Energy, State, torch.Generator | None], Walk]  # energy, where it begins, random numbers
Prepare = Callable[[nn.Module], nn.Module]  # makes the network that the chain runs on, such as a bfloat16 copy
Held = TypeVar("Held", State, Walk)
Found = TypeVar("Found")

_enabled = True
_counting = threading.Lock()
_capturing = threading.Lock()  # PyTorch takes one recording at a time, and what is set for it is the whole process's
_seen: WeakKeyDictionary[nn.Module, dict] = WeakKeyDictionary()


@contextlib.contextmanager
def plain_chains() -> Iterator[None]:
    """Within it no chain is recorded or replayed: to compare, or to look for an error."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def sample_recorded(
    energy: Energy,
    x0: Tensor,
    kernel: Kernel,
    n_steps: int,
    *,
    generator: torch.Generator | None = None,
    fast: bool | torch.dtype = False,
) -> Chain:
    """``sample``, but for ``keep_every``: on a GPU a chain that comes back is recorded, and from then on replayed.

    Args, raises: as for ``sample``.
    """

    def prepare(network: nn.Module) -> nn.Module:
        if fast:
            return fast_copy(network, x0.device, None if fast is True else fast)
        return in_layout(network, x0)

    def unwatched(network: Energy, state: State, stream: torch.Generator | None) -> Walk:
        return steps(network, state, kernel, n_steps, stream)  # a look at any value would end a recording

    x0 = checked_start(x0, n_steps)
    if n_steps == 0 or not (_enabled and _on_device(x0, generator)):
        return sample(energy, x0, kernel, n_steps, generator=generator, fast=fast)
    ready = prepare(energy) if isinstance(energy, nn.Module) else energy
    with frozen(ready):
        state = kernel.init(ready, x0)
        check_finite(state.energy, 0, kernel)
        walk = replayed(energy, prepare, unwatched, state, generator, kernel, n_steps, fast)
        if walk is None:
            walk = unwatched(ready, state, generator)
    check_trace(walk.energy, kernel)
    return as_chain(walk, x0.dtype)


def replayed(
    energy: Energy,
    prepare: Prepare,
    steps: Steps,
    state: State,
    generator: torch.Generator | None,
    kernel: Kernel,
    n_steps: int,
    *more: object,
) -> Walk | None:
    """The walk from ``state`` by a recorded graph; None when this chain is to be run plainly.

    Args:
        energy: the caller's.
        prepare: makes the network that the chain runs on.
        steps: runs the steps; what is recorded.
        state: what ``kernel.init`` found.
        generator: the caller's; None means PyTorch's own.
        kernel, n_steps, more: all that tells one recording of a network from another.
    """
    if not (isinstance(energy, nn.Module) and _enabled and _on_device(state.x, generator)):
        return None
    key = _kind(energy, state, kernel, n_steps, *more)
    if key is None:
        return None
    with _counting:
        kinds = _seen.setdefault(energy, {})
        if key not in kinds and len(kinds) >= MOST_KINDS:
            return None
        held = kinds.get(key, 0)
        recorded = isinstance(held, _Recording)
        if not recorded:
            kinds[key] = held + 1  # a kind that failed is beyond RECORD_AT, and not tried again
            full = sum(isinstance(value, _Recording) for value in kinds.values()) >= MOST_RECORDINGS
            if held + 1 != RECORD_AT or full:
                return None
    generator = _generator(state.x, generator)
    begin = generator.get_state()
    try:
        if recorded:
            return held(energy, state, generator)
        recording = _Recording(energy, prepare, steps, state)
        walk = recording.checked(energy, steps, state, generator)
    except Exception as error:  # whatever it is: the plain chain does not need the recording
        warnings.warn(f"this chain runs without a CUDA graph, which could not be used: {error}", stacklevel=3)
        kinds[key] = RECORD_AT
        generator.set_state(begin)
        return None
    with _counting:
        kinds[key] = recording
    return walk


class _Recording:
    """One chain on a copy of the network, whose inputs and weights stay at their places in memory."""

    def __init__(self, energy: nn.Module, prepare: Prepare, steps: Steps, state: State) -> None:
        self.network = prepare(copy.deepcopy(energy).requires_grad_(False))
        self.state = _copied(state)
        self.stream = torch.Generator(state.x.device)
        self.lock = threading.Lock()

        def work() -> tuple[Tensor, Walk]:
            return energy_only(self.network, self.state.x), steps(self.network, self.state, self.stream)

        self.replay, (self.first, self.walk) = capture(work, self.stream)

    @torch.no_grad()
    def __call__(self, energy: nn.Module, state: State, generator: torch.Generator) -> Walk:
        """The chain from ``state``.

        Raises:
            ValueError: the recorded network has another energy there than the present one: it is out of date in a way
                that ``_kind`` does not see.
        """
        with self.lock:
            for mine, theirs in zip(_tensors(self.network), _tensors(energy), strict=True):
                mine.copy_(theirs)
            for mine, theirs in zip(self.state, state, strict=True):
                if mine is not None:
                    assert theirs is not None  # a kernel's first states have the same fields
                    mine.copy_(theirs)
            self.stream.set_state(generator.get_state())
            self.replay()
            generator.set_state(self.stream.get_state())
            found = _copied(self.walk)  # replays write there
            away = (self.first - state.energy).abs().max() - 1e-2 * state.energy.abs().max()
            if not away.item() <= 1e-3:  # waits for the GPU, so the copies are finished before another replay begins
                raise ValueError("the recorded network is not the present one")
            return found

    def checked(self, energy: nn.Module, steps: Steps, state: State, generator: torch.Generator) -> Walk:
        """The first replay, which must be what the plain chain is, and use up as many random numbers.

        Raises:
            ValueError: it is not.
        """
        begin = generator.get_state()
        plain = steps(self.network, state, generator)
        end = generator.get_state()
        generator.set_state(begin)
        found = self(energy, state, generator)
        away = (found.x - plain.x).abs().mean().item()
        if not away <= 1e-3 * plain.x.abs().mean().item() or not torch.equal(end, generator.get_state()):
            raise ValueError(f"its states are {away:.2g} from those of the plain chain, on average")
        return found


def capture(work: Callable[[], Found], stream: torch.Generator) -> tuple[Callable[[], None], Found]:
    """Record what ``work`` launches; a function that launches it all again, and where the results will be.

    Raises:
        RuntimeError: ``work`` reads a value from the GPU, or does something else that a recording cannot hold.
    """
    old = TorchVersion(torch.__version__) < "2.14"
    device = stream.device
    with _capturing, _no_collection(), torch.cuda.device(device), torch.random.fork_rng(devices=[device]):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        try:
            # Libraries set themselves up at their first call, which must not be recorded. And what a recording cannot
            # hold should fail now: older versions of PyTorch do not get over a recording that was broken off.
            with _no_waiting() if old else contextlib.nullcontext(), torch.cuda.stream(side):
                work()
        finally:
            torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        if old:  # later versions find the generators themselves
            graph.register_generator_state(stream)
        _clear_workspaces()  # the graph would use one that Lightning frees at the end of any training
        try:
            # A thread that only brings data may go on meanwhile; one that waits for the GPU breaks the recording.
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                found = work()
        except BaseException:
            if old:  # a recording that was broken off leaves PyTorch's own generator unusable
                own, fresh = torch.cuda.default_generators[device.index], torch.Generator(device)
                fresh.set_state(own.get_state())
                own.graphsafe_set_state(fresh)
            raise
        finally:
            _clear_workspaces()
    return graph.replay, found


@contextlib.contextmanager
def _no_waiting() -> Iterator[None]:
    """Whatever makes Python wait for the GPU is an error within it, in the whole process."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():  # that the mode is a prototype is not the student's concern
        warnings.simplefilter("ignore", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected within it: a graph that dies during a recording breaks that recording."""
    before = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _clear_workspaces() -> None:
    """Forget the scratch memory that matrix products share, so that the next one takes memory where it is."""
    if hasattr(torch._C, "_cuda_clearCublasWorkspaces"):
        torch._C._cuda_clearCublasWorkspaces()


def _on_device(x: Tensor, generator: torch.Generator | None) -> bool:
    """On a GPU, random numbers included, and under no mode that a recording would not know of."""
    return (
        x.device.type == "cuda"
        and (generator is None or generator.device.type == "cuda")
        and not torch.cuda.is_current_stream_capturing()
        and not torch.is_autocast_enabled("cuda")
        and not torch.is_inference_mode_enabled()
    )


def _generator(x: Tensor, generator: torch.Generator | None) -> torch.Generator:
    return torch.cuda.default_generators[x.device.index] if generator is None else generator


def _copied(held: Held) -> Held:
    """The same tensors at other places in memory."""
    return held._replace(**{name: value.clone() for name, value in held._asdict().items() if value is not None})


def _kind(energy: nn.Module, state: State, kernel: Kernel, n_steps: int, *more: object) -> tuple | None:
    """All that a recording depends on and does not read anew; None when that cannot be known.

    Weights and buffers are copied into the recording before each replay. Everything else that the network's forward
    pass may read has to be plain values, which become part of the kind: a module that holds a function of its own or a
    loose tensor is not recorded. Nor is one with hooks, and nor is one in training mode whose forward pass changes
    buffers or draws numbers, because it would do so to a copy.
    """
    if type(energy).__hash__ is None or not dataclasses.is_dataclass(kernel):
        return None
    if n_steps * getattr(kernel, "n_leapfrog", 1) > MOST_GRADIENTS:
        return None
    network = []
    for name, module in energy.named_modules():
        if any(getattr(module, hooks, None) for hooks in _HOOKS):
            return None
        if module.training and (module._buffers or isinstance(module, nn.modules.dropout._DropoutNd)):
            return None
        own = {key: value for key, value in vars(module).items() if key not in _MODULES_OWN}
        if not _plain(own):
            return None
        held = [
            (key, t.shape, t.dtype, t.device)
            for key, t in (module._parameters | module._buffers).items()
            if t is not None
        ]
        network.append((name, type(module), repr(own), *held))
    rules = _rules({field.name: getattr(kernel, field.name) for field in dataclasses.fields(kernel)}, n_steps)
    if rules is None:
        return None
    x = state.x
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    # (The older names of these settings raise an error once a program has used the newer ones.)
    arithmetic = (products.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision)
    arithmetic += (cudnn.enabled, cudnn.benchmark, cudnn.deterministic)
    exact = torch.are_deterministic_algorithms_enabled()
    return (*network, type(kernel), *rules, n_steps, *more, x.shape, x.dtype, x.device, x.stride(), *arithmetic, exact)


def _rules(settings: dict[str, object], n_steps: int) -> list[str] | None:
    """A kernel's settings, schedules step by step."""
    rules = []
    for value in settings.values():
        if callable(value):
            try:
                value = tuple(value(t, n_steps) for t in range(1, n_steps + 1))
            except Exception:  # a function that is no schedule: not ours to call
                return None
        if not _plain(value):
            return None
        rules.append(repr(value))
    return rules


_MODULES_OWN = frozenset(vars(nn.Module())) - {"training"}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _plain(value: object) -> bool:
    """Values whose repr tells all: numbers, strings, classes, PyTorch's own functions, and containers of them."""
    if isinstance(value, dict):
        return all(_plain(key) and _plain(held) for key, held in value.items())
    if isinstance(value, tuple | list):
        return all(map(_plain, value))
    if isinstance(value, type) or (
        callable(value) and str(getattr(value, "__module__", None)).startswith("torch.nn.func")
    ):
        return True
    return value is None or isinstance(value, bool | int | float | str | torch.dtype | torch.Size)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
