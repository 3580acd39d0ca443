"""Recorded chains are the plain ones: on a GPU where there is one, and everywhere with a stand-in for the recording."""

import copy
import dataclasses
import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from gen_utils.models import SmallEnergy
from gen_utils.samplers import HMC, MALA, Langevin, ProximalLangevin, graphs, power_decay
from gen_utils.samplers.graphs import sample_recorded

BOX = (-1.0, 1.0)
KERNELS = [
    Langevin(0.5, noise=0.01, grad_clip=0.03, bounds=BOX),
    Langevin(power_decay(0.1, 0.5)),
    ProximalLangevin(1.0, max_step=0.1, noise=0.01, bounds=BOX),
    MALA(0.001, bounds=BOX),  # in 784 dimensions every proposal leaves the box: nothing moves
    MALA(0.001),
    HMC(0.01, 3, jitter=0.2),
]
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Recorder:
    """Stands in for ``graphs.capture`` without a GPU: replaying does the work again, into the same memory."""

    def __init__(self):
        self.recordings = self.replays = 0

    def __call__(self, work, stream):
        first, walk = work()
        self.recordings += 1

        def replay():
            self.replays += 1
            again, found = work()
            for place, value in zip((first, *walk), (again, *found), strict=True):
                if place is not None:
                    place.copy_(value)

        return replay, (first, walk)


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setattr(graphs, "_on_device", lambda x, generator: generator is not None)
    monkeypatch.setattr(graphs, "capture", Recorder())
    return graphs.capture


def network(seed=0):
    torch.manual_seed(seed)
    return SmallEnergy(width=4).eval()


def start(n=6, seed=1):
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def draw(energy, kernel, stream, device="cpu", n_steps=5, **more):
    return sample_recorded(energy, start().to(device), kernel, n_steps, generator=stream, **more)


def stream_on(device, seed=3):
    return torch.Generator(device).manual_seed(seed)


def same(a, b):
    told = (a.accept_rate, a.n_diverged) == (b.accept_rate, b.n_diverged)
    return told and torch.equal(a.x, b.x) and torch.equal(a.energy, b.energy)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("fast", [False, torch.float32])
def test_every_chain_is_the_plain_one_and_leaves_the_same_stream(kernel, fast, recorder):
    energy, a, b = network(), stream_on("cpu"), stream_on("cpu")
    for turn in range(5):
        found = draw(energy, kernel, a, fast=fast)
        with graphs.plain_chains():
            assert same(found, draw(energy, kernel, b, fast=fast)), turn
        assert torch.equal(a.get_state(), b.get_state())
        with torch.no_grad():
            for value in energy.parameters():
                value.mul_(1.1)  # a replay reads the weights of its own time
    assert (recorder.recordings, recorder.replays) == (1, 3)


def test_a_result_is_not_written_over_by_the_next_chain(recorder):
    energy, stream = network(), stream_on("cpu")
    chains = [draw(energy, KERNELS[0], stream) for _ in range(5)]
    kept = copy.deepcopy(chains[3].x)
    draw(energy, KERNELS[0], stream)
    assert torch.equal(chains[3].x, kept) and not torch.equal(chains[3].x, chains[4].x)


def changed(energy, what):
    """The same network, and no longer the same function."""
    if what == "attribute":
        energy.temperature = 2.0
    for name, module in list(energy.named_modules()):
        owner = energy.get_submodule(name.rpartition(".")[0])
        if what == "activation" and isinstance(module, nn.SiLU):
            setattr(owner, name.rpartition(".")[2], nn.ReLU())
        if what == "bias" and isinstance(module, nn.Linear):
            module.bias = None
    return energy


@pytest.mark.parametrize(
    "change",
    [
        lambda energy: (energy, Langevin(0.4, noise=0.01), {}),
        lambda energy: (energy, KERNELS[1], {}),
        lambda energy: (energy, Langevin(0.5, noise=0.01), {"n_steps": 4}),
        lambda energy: (network(), Langevin(0.5, noise=0.01), {}),
        lambda energy: (changed(energy, "attribute"), Langevin(0.5, noise=0.01), {}),
        lambda energy: (changed(energy, "activation"), Langevin(0.5, noise=0.01), {}),
        lambda energy: (changed(energy, "bias"), Langevin(0.5, noise=0.01), {}),
    ],
    ids=["step size", "schedule", "steps", "network", "attribute", "activation", "bias"],
)
def test_another_kind_is_not_answered_by_an_old_recording(change, recorder):
    energy, stream = network(), stream_on("cpu")
    for _ in range(4):
        draw(energy, Langevin(0.5, noise=0.01), stream)
    assert recorder.replays == 2
    other, kernel, more = change(energy)
    mine = copy.deepcopy(stream.get_state())
    found = draw(other, kernel, stream, **more)
    assert recorder.replays == 2
    stream.set_state(mine)
    with graphs.plain_chains():
        assert same(found, draw(other, kernel, stream, **more))


class Scaled(nn.Module):
    """An energy that reads something which is neither a weight nor a plain value."""

    def __init__(self, scale):
        super().__init__()
        self.scale, self.inner = scale, network()

    def forward(self, x):
        return self.inner(x) * (self.scale() if callable(self.scale) else self.scale)


def hooked():
    energy = network()
    next(iter(energy.children())).register_forward_hook(lambda *_: None)
    return energy


def hooked_backwards():
    energy = network()
    energy.register_full_backward_pre_hook(lambda *_: None)
    return energy


class Unhashable(Scaled):
    __hash__ = None

    def __eq__(self, other):
        return self is other


def with_dropout():
    energy = Scaled(1.0)
    energy.drop = nn.Dropout(0.1)
    return energy.train()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Scaled(lambda: 2.0),
        lambda: Scaled(torch.tensor(2.0)),
        hooked,
        hooked_backwards,
        with_dropout,
        lambda: Unhashable(1.0),
        lambda: lambda x: x.flatten(1).square().sum(1),
    ],
    ids=["a function", "a loose tensor", "hooks", "backward hooks", "dropout", "no hash", "no module"],
)
def test_what_a_recording_could_not_follow_is_not_recorded(make, recorder):
    energy = make()
    for _ in range(5):
        draw(energy, KERNELS[0], stream_on("cpu"))
    assert recorder.recordings == 0


@dataclasses.dataclass(frozen=True)
class Projected:
    """A kernel of the user's own with a function in it that is no schedule."""

    project: object

    def init(self, energy, x):
        return KERNELS[0].init(energy, x)

    def step(self, energy, state, t, n_steps, generator):
        state = KERNELS[0].step(energy, state, t, n_steps, generator)
        return state._replace(x=self.project(state.x))


def test_a_kernel_with_a_function_runs_plainly(recorder):
    energy = network()
    for _ in range(5):
        draw(energy, Projected(lambda x: x.clamp(-1, 1)), stream_on("cpu"))
    assert recorder.recordings == 0


def test_a_network_that_reads_what_nobody_sees_is_caught_at_the_replay(recorder):
    class Moody(Scaled):
        mood = 1.0  # the class's own, not the module's

        def forward(self, x):
            return self.inner(x) * Moody.mood

    energy, a = Moody(1.0), stream_on("cpu")
    for _ in range(4):
        draw(energy, KERNELS[0], a)
    recording = next(held for held in graphs._seen[energy].values() if isinstance(held, graphs._Recording))
    frozen = recording.first.clone()
    recording.replay = lambda: recording.first.copy_(frozen)  # the stand-in would run Python again, a graph would not
    Moody.mood = 3.0
    begin = a.get_state()
    with pytest.warns(UserWarning, match="not the present one"):
        found = draw(energy, KERNELS[0], a)
    a.set_state(begin)
    with graphs.plain_chains():
        assert same(found, draw(energy, KERNELS[0], a))


def test_many_replays_leave_no_trail(recorder):
    energy, stream = network(), stream_on("cpu")
    for _ in range(8):
        draw(energy, KERNELS[0], stream)
    recording = next(held for held in graphs._seen[energy].values() if isinstance(held, graphs._Recording))
    assert not any(value.requires_grad for value in recording.network.parameters())
    for k in range(2 * graphs.MOST_KINDS):
        draw(energy, Langevin(0.1 + k / 1000, noise=0.01), stream, n_steps=1)
    assert len(graphs._seen[energy]) == graphs.MOST_KINDS


def test_a_recording_that_fails_is_told_once_and_costs_nothing(recorder, monkeypatch):
    def fail(work, stream):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "capture", fail)
    energy, a, b = network(), stream_on("cpu"), stream_on("cpu")
    with pytest.warns(UserWarning, match="without a CUDA graph.*not permitted") as told:
        chains = [draw(energy, KERNELS[0], a) for _ in range(5)]
    assert len(told) == 1
    with graphs.plain_chains():
        assert all(same(chain, draw(energy, KERNELS[0], b)) for chain in chains)


def test_a_recording_with_other_random_numbers_is_not_believed(recorder, monkeypatch):
    honest = graphs.capture

    def forgetful(work, stream):
        replay, walk = honest(work, stream)

        def run():
            stream.manual_seed(99)
            replay()

        return run, walk

    monkeypatch.setattr(graphs, "capture", forgetful)
    kernel, energy, a, b = Langevin(0.5, noise=0.1), network(), stream_on("cpu"), stream_on("cpu")
    with pytest.warns(UserWarning, match="from those of the plain chain"):
        chains = [draw(energy, kernel, a) for _ in range(4)]
    with graphs.plain_chains():
        assert all(same(chain, draw(energy, kernel, b)) for chain in chains)


def test_recordings_are_few_and_go_with_their_network(recorder):
    energy, stream = network(), stream_on("cpu")
    for size in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        for _ in range(3):
            draw(energy, Langevin(size, noise=0.01), stream)
    assert recorder.recordings == graphs.MOST_RECORDINGS
    before = len(graphs._seen)
    del energy
    gc.collect()
    assert len(graphs._seen) == before - 1


def test_precision_set_by_the_newer_names_is_no_error_and_another_kind(recorder):
    conv, energy, stream = torch.backends.cudnn.conv, network(), stream_on("cpu")
    before = conv.fp32_precision
    try:
        for conv.fp32_precision in ("ieee", "tf32"):  # the older getters raise now
            for _ in range(3):
                draw(energy, KERNELS[0], stream)
    finally:
        conv.fp32_precision = before
    assert recorder.recordings == 2


@pytest.mark.parametrize("kernel", [KERNELS[0], HMC(0.01, 3)])
def test_very_long_chains_run_plainly(kernel, recorder, monkeypatch):
    monkeypatch.setattr(graphs, "MOST_GRADIENTS", 5 * getattr(kernel, "n_leapfrog", 1))
    energy, stream = network(), stream_on("cpu")
    for n_steps in (5, 6):
        for _ in range(3):
            draw(energy, kernel, stream, n_steps=n_steps)
    assert recorder.recordings == 1


def test_any_error_of_a_recording_means_the_plain_chain(recorder, monkeypatch):
    def capture(work, stream):
        raise AssertionError("not today")

    monkeypatch.setattr(graphs, "capture", capture)
    energy, a, b = network(), stream_on("cpu"), stream_on("cpu")
    with pytest.warns(UserWarning, match="not today"):
        found = [draw(energy, KERNELS[0], a) for _ in range(4)]
    with graphs.plain_chains():
        assert all(same(each, draw(energy, KERNELS[0], b)) for each in found)


def test_two_threads_make_one_recording(recorder):
    energy = network()
    with ThreadPoolExecutor(2) as pool:
        chains = list(pool.map(lambda i: draw(energy, KERNELS[0], stream_on("cpu", i)), range(12)))
    assert recorder.recordings == 1
    with graphs.plain_chains():
        for i, chain in enumerate(chains):  # not bit for bit: PyTorch may split sums otherwise in the pool's threads
            plain = draw(energy, KERNELS[0], stream_on("cpu", i))
            torch.testing.assert_close(chain.x, plain.x, atol=1e-3, rtol=1e-3)


class Peeking(nn.Module):
    """Reads a value from the GPU, which no recording can hold."""

    event_shape = (1, 28, 28)

    def forward(self, x):
        return x.square().flatten(1).sum(1) * (1.0 if x.sum().item() < 1e9 else 2.0)


@cuda
def test_on_cuda_what_cannot_be_recorded_runs_plainly_and_breaks_nothing():
    energy, stream, before = Peeking(), stream_on("cuda"), torch.cuda.get_sync_debug_mode()
    draw(energy, Langevin(0.1), stream, "cuda", n_steps=2)
    draw(energy, Langevin(0.1), stream, "cuda", n_steps=2)
    with pytest.warns(UserWarning, match="without a CUDA graph"):
        draw(energy, Langevin(0.1), stream, "cuda", n_steps=2)
    assert torch.cuda.get_sync_debug_mode() == before
    torch.rand(1, device="cuda").item()  # PyTorch's own generator still works
    good = network().cuda()
    for _ in range(3):
        draw(good, Langevin(0.1), stream, "cuda")
    assert any(isinstance(held, graphs._Recording) for held in graphs._seen[good].values())


@cuda
def test_on_cuda_a_recording_outlives_the_end_of_a_training_and_ends_with_its_network(recwarn):
    energy, stream = network().cuda(), torch.Generator("cuda")
    torch.cuda.manual_seed(5)
    for _ in range(4):
        draw(energy, KERNELS[0], None, "cuda")
    graphs._clear_workspaces()  # as Lightning does at the end of every training
    torch.cuda.empty_cache()
    filler = torch.full((2**24,), float("nan"), device="cuda")
    found = draw(energy, KERNELS[0], stream.manual_seed(1), "cuda")
    with graphs.plain_chains():
        plain = draw(energy, KERNELS[0], stream.manual_seed(1), "cuda")
    torch.testing.assert_close(found.x, plain.x, atol=2e-3, rtol=2e-3)
    assert not list(recwarn)
    del filler, found, plain
    gc.collect()
    held = torch.cuda.memory_allocated()
    del energy
    gc.collect()
    assert torch.cuda.memory_allocated() < held


@cuda
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("fast", [False, True])
def test_on_cuda_a_recorded_chain_is_the_plain_one(kernel, fast):
    energy, a, b = network().cuda(), stream_on("cuda"), stream_on("cuda")
    for _ in range(5):
        found = draw(energy, kernel, a, "cuda", fast=fast)
        with graphs.plain_chains():
            plain = draw(energy, kernel, b, "cuda", fast=fast)
        torch.testing.assert_close(found.x, plain.x, atol=2e-3, rtol=2e-3)
        assert torch.equal(a.get_state(), b.get_state())
        with torch.no_grad():
            for value in energy.parameters():
                value.mul_(1.1)
    assert any(isinstance(held, graphs._Recording) for held in graphs._seen[energy].values())
