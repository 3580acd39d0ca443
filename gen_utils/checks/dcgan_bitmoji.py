"""The exercise checks of Part H, DCGAN on Bitmoji."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cases import Case, stream
from .compare import compare, observe
from .core import Result, Slip, attempt, check, told


@check
def output_size(student: Callable) -> Result:
    """Check ``output_size(size, kernel, stride, padding, output_padding) -> int`` of a transposed convolution."""

    def right(size: int, kernel: int, stride: int, padding: int, output_padding: int) -> int:
        return (size - 1) * stride - 2 * padding + kernel + output_padding

    cases = [(4, 4, 2, 1, 0), (7, 3, 2, 1, 1), (1, 4, 1, 0, 0), (5, 5, 3, 2, 2)]
    slips = [
        Slip("ordinary convolution", "that is the size after an ordinary convolution, which shrinks; a transposed one undoes it.", lambda n, k, s, p, o: (n + 2 * p - k) // s + 1),
        Slip("n for n - 1", "n inputs have n − 1 gaps of `stride` between them, not n.", lambda n, k, s, p, o: n * s - 2 * p + k + o),
        Slip("padding once", "the padding is cut off on both sides: subtract it twice.", lambda n, k, s, p, o: (n - 1) * s - p + k + o),
        Slip("padding added", "padding makes the output of a transposed convolution smaller: it is what the ordinary one would have added.", lambda n, k, s, p, o: (n - 1) * s + 2 * p + k + o),
        Slip("no kernel", "the last input still paints a whole kernel: add its size.", lambda n, k, s, p, o: (n - 1) * s - 2 * p + 1 + o),
        Slip("no output padding", "output_padding is missing: it is added at one side.", lambda n, k, s, p, o: (n - 1) * s - 2 * p + k),
        Slip("n times stride", "right only for kernel 4, stride 2, padding 1. Count what n inputs paint in general.", lambda n, k, s, p, o: n * s),
    ]  # fmt: skip
    return compare("output_size", student, right, cases, slips)


@check
def dcgan_init(student: Callable) -> Result:
    """Check ``dcgan_init(network)``, in place: N(0, 0.02) weights, N(1, 0.02) batch-norm scales, biases zero.

    The layers are large enough that a standard deviation is known to a few per cent.
    """
    name = "dcgan_init"
    network = nn.ModuleDict({
        "Conv2d": nn.Conv2d(32, 64, 4), "ConvTranspose2d": nn.ConvTranspose2d(64, 32, 4),
        "Linear": nn.Linear(200, 100), "BatchNorm2d": nn.BatchNorm2d(2000),
    })  # fmt: skip
    nn.init.normal_(network["BatchNorm2d"].bias)  # PyTorch's own are zero already

    @functools.wraps(student, updated=())
    def drawn(network: nn.Module) -> nn.Module:
        student(network)
        return network

    found = []
    for _ in range(2):
        copied, failure = observe(
            name, drawn if callable(student) else student, (network,), ("network",), ("network weights", "random")
        )
        if failure is not None:
            return failure
        found.append(copied)
    layers = found[0]
    for kind in ("Conv2d", "ConvTranspose2d", "Linear"):
        result = _weights_told(name, kind, layers[kind].weight.detach())
        if result is not None:
            return result
    scale = layers["BatchNorm2d"].weight.detach()
    if torch.equal(scale, torch.ones_like(scale)):
        return told(name, False, "the scales of the batch norm are still exactly one; they are drawn from N(1, 0.02).", "batch norm left out")  # fmt: skip
    if abs(scale.mean()) < 0.01:
        return told(name, False, "the scales of the batch norm are drawn around zero, which switches every channel off. Around one: N(1, 0.02).", "batch norm around zero")  # fmt: skip
    if abs(scale.std() - 0.02) > 0.002 or abs(scale.mean() - 1) > 0.01:
        return told(name, False, f"the scales of the batch norm have mean {scale.mean():.3g} and standard deviation {scale.std():.3g}; 1 and 0.02 are wanted.")  # fmt: skip
    for kind, layer in layers.items():
        if layer.bias.detach().abs().max() > 0:
            return told(name, False, f"the biases of {kind} are not zero.", "biases left")
    if torch.equal(layers["Linear"].weight, found[1]["Linear"].weight):
        return told(name, False, "every call draws the same weights: do not seed the stream inside.", "seeded")
    return told(name, True, "right: weights N(0, 0.02), scales N(1, 0.02), biases zero.")


def _weights_told(name: str, kind: str, weight: Tensor) -> Result | None:
    std, mean, largest = weight.std().item(), weight.mean().item(), weight.abs().max().item()
    fan_in = weight[0].numel() if kind != "ConvTranspose2d" else weight.shape[0] * weight[0, 0].numel()
    if std < 1e-6:
        return told(name, False, f"all weights of {kind} are equal: every channel would learn the same.", "constant")
    if abs(std - 0.02**0.5) < 0.005:
        return told(name, False, f"the weights of {kind} have variance 0.02; it is the standard deviation that is 0.02.", "variance for standard deviation")  # fmt: skip
    if abs(std - 0.02 / 3**0.5) < 0.0006 and largest <= 0.0201:
        return told(name, False, f"the weights of {kind} are uniform on ±0.02; a normal distribution is wanted.", "uniform")  # fmt: skip
    default = 1 / (3 * (weight[0].numel())) ** 0.5
    if abs(std - default) < 0.02 * default and largest <= 1.01 * 3**0.5 * default:
        return told(name, False, f"the weights of {kind} are still PyTorch's own. Does your loop reach this kind of layer?", "layer left out")  # fmt: skip
    if min(abs(std - (2 / f) ** 0.5) / std for f in (fan_in, weight[0].numel())) < 0.03:
        return told(name, False, f"the weights of {kind} have He's standard deviation √(2 / fan in) = {std:.3g}; DCGAN has 0.02 for all.", "He")  # fmt: skip
    if abs(std - 0.02) > 0.001 or abs(mean) > 0.001:
        return told(name, False, f"the weights of {kind} have mean {mean:.2g} and standard deviation {std:.3g}; 0 and 0.02 are wanted.")  # fmt: skip
    return None


def _toys(seed: int = 3) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """A generator, a discriminator with a stale gradient in it, real images and inputs; all from one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        critic = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0))
        real, z = torch.randn(6, 4) + 1, torch.randn(6, 3)
    for parameter in critic.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    return generator, critic, real, z


def _flat(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@check
def critic_step(student: Callable) -> Result:
    """Check ``critic_step(generator, critic, real, z, optimiser) -> loss``: one step of the discriminator alone.

    The networks are toys, the optimiser is plain SGD, so that the new weights tell the gradient.
    """
    name = "critic_step"

    def softplus(a: Tensor) -> Tensor:
        return F.softplus(a).mean()

    def play(step: Callable) -> Callable:
        """The step as a function: the discriminator's weights after it, the loss, and what it left in the generator."""

        @functools.wraps(step, updated=())
        def run(generator: nn.Module, critic: nn.Module, real: Tensor, z: Tensor) -> tuple[Tensor, object, Tensor]:
            before = [p.grad.clone() for p in generator.parameters()]
            loss = step(generator, critic, real, z, torch.optim.SGD(critic.parameters(), lr=0.1))
            after = [torch.zeros_like(p) if p.grad is None else p.grad for p in generator.parameters()]
            return _flat(critic), loss, sum((a - b).abs().sum() for a, b in zip(after, before, strict=True))

        return run

    def wrong(loss_of: Callable, *, zero: bool = True, step: bool = True, detach: bool = True) -> Callable:
        def after(generator, critic, real, z, optimiser) -> Tensor:
            fake = generator(z)
            loss = loss_of(critic(real), critic(fake.detach() if detach else fake))
            if zero:
                optimiser.zero_grad()
            loss.backward()
            if step:
                optimiser.step()
            return loss.detach()

        return play(after)

    def right(r: Tensor, f: Tensor) -> Tensor:
        return softplus(-r) + softplus(f)

    slips = [
        Slip("no detach", "the loss has gone back into the generator, whose gradient is now polluted. Detach the fakes, or make them under no_grad.", wrong(right, detach=False)),
        Slip("labels swapped", "data and fakes have changed places: real images have label 1, fakes 0.", wrong(lambda r, f: softplus(r) + softplus(-f))),
        Slip("gradients not cleared", "an old gradient was still in the discriminator: clear its gradients before the backward pass.", wrong(right, zero=False)),
        Slip("no step", "the weights have not moved: the optimiser's step is missing.", wrong(right, step=False)),
        Slip("halved", "you averaged over data and fakes together, which halves the loss; here it is the sum of two means.", wrong(lambda r, f: (softplus(-r) + softplus(f)) / 2)),
        Slip("sum for mean", "the losses are summed over the batch; average them.", wrong(lambda r, f: F.softplus(-r).sum() + F.softplus(f).sum())),
        Slip("sigmoid twice", "the sigmoid is applied twice: binary_cross_entropy_with_logits wants the logit itself.", wrong(lambda r, f: softplus(-r.sigmoid()) + softplus(f.sigmoid()))),
        Slip("fakes only", "only the fakes are in the loss; the data are missing.", wrong(lambda r, f: softplus(f))),
        Slip("data only", "only the data are in the loss; the fakes are missing.", wrong(lambda r, f: softplus(-r))),
        Slip("generator's loss", "that is the generator's loss: the discriminator must not believe in the fakes.", wrong(lambda r, f: softplus(-f))),
    ]  # fmt: skip
    if not callable(student):
        return attempt(name, student)[1]
    torch.optim.SGD(
        [torch.zeros(1, requires_grad=True)], lr=0.1
    )  # imports a part of PyTorch, not on the student's clock
    cases = [_toys(), _toys(4)]
    outputs = ("the discriminator's weights after the step", "the loss", "what is left in the generator's gradients")
    return compare(name, play(student), wrong(right), cases, slips, outputs=outputs, may_change=("critic weights",))


@check
def frechet(student: Callable) -> Result:
    """Check ``frechet(features_a (N, d), features_b (M, d)) -> scalar``, in float64."""
    numbers = stream(5)
    mix = torch.tensor([[1.0, 0.7, 0.0], [0.0, 0.6, -0.5], [0.3, 0.0, 0.4]])
    a = torch.randn(20, 3, generator=numbers) @ mix
    b = torch.randn(14, 3, generator=numbers) @ mix.T * 1.5 + torch.tensor([0.5, -1.0, 2.0])
    cases = [(a, b), (b, a[:12] * 2)]
    far = Case(
        (a + 3000.0, b + 3000.0),
        "3,000 is added to every feature",
        "float32",
        "float32 has no digits left for the spread there. Convert to float64 first, and subtract the mean before squaring.",
    )
    few = Case((torch.randn(3, 6, generator=numbers), torch.randn(4, 6, generator=numbers)), "there are fewer images than features",
               "rounding", "rounding makes eigenvalues that should be zero slightly negative or complex.")  # fmt: skip

    def moments(f: Tensor, ddof: int = 1) -> tuple[Tensor, Tensor]:
        f = f.double()
        centred = f - f.mean(0)
        return f.mean(0), centred.T @ centred / (len(f) - ddof)

    def root_trace(s: Tensor, t: Tensor) -> Tensor:
        return torch.linalg.eigvals(s @ t).real.clamp(min=0).sqrt().sum()

    def distance(x, y, *, ddof=1, mean=lambda g: g @ g, cross=lambda s, t: 2 * root_trace(s, t)) -> Tensor:
        (m, s), (n, t) = moments(x, ddof), moments(y, ddof)
        return mean(m - n) + s.trace() + t.trace() - cross(s, t)

    def standard_deviations(x: Tensor, y: Tensor) -> Tensor:
        (m, s), (n, t) = moments(x), moments(y)
        return (m - n) @ (m - n) + (s.diagonal().sqrt() - t.diagonal().sqrt()).square().sum()

    def swap_std(x: Tensor, y: Tensor) -> Tensor:
        (m, s), (n, t) = moments(x), moments(y)
        s, t = s.diagonal().sqrt().diag(), t.diagonal().sqrt().diag()
        return (m - n) @ (m - n) + s.trace() + t.trace() - 2 * root_trace(s, t)

    slips = [
        Slip("no root", "the root is missing: it is the trace of (Σa Σb)^½, not of Σa Σb.", lambda x, y: distance(x, y, cross=lambda s, t: 2 * (s @ t).trace())),
        Slip("root element by element", "you took the root of every element of Σa Σb. The matrix root is meant; its trace is the sum of the roots of the eigenvalues.", lambda x, y: distance(x, y, cross=lambda s, t: 2 * (s @ t).diagonal().clamp(min=0).sqrt().sum())),
        Slip("root of the trace", "the trace of the root is not the root of the trace: the eigenvalues are rooted one by one.", lambda x, y: distance(x, y, cross=lambda s, t: 2 * (s @ t).trace().sqrt())),
        Slip("two missing", "the last term counts twice: − 2 tr (Σa Σb)^½.", lambda x, y: distance(x, y, cross=root_trace)),
        Slip("no last term", "the last term is missing: without − 2 tr (Σa Σb)^½ two equal sets would have a distance.", lambda x, y: distance(x, y, cross=lambda s, t: 0.0)),
        Slip("mean not squared", "the distance of the means is to be squared.", lambda x, y: distance(x, y, mean=lambda g: g.norm())),
        Slip("no mean", "the distance of the means is missing.", lambda x, y: distance(x, y, mean=lambda g: 0.0)),
        Slip("mean absolute", "squared differences of the means are wanted, not absolute ones.", lambda x, y: distance(x, y, mean=lambda g: g.abs().sum())),
        Slip("mean averaged", "the squared differences of the means are summed over the features, not averaged.", lambda x, y: distance(x, y, mean=lambda g: (g @ g) / len(g))),
        Slip("divided by N", "your covariances are divided by N; torch.cov and the usual code divide by N − 1. With few images it shows.", lambda x, y: distance(x, y, ddof=0)),
        Slip("variances alone", "you used the variances alone. Features are correlated: the whole covariance matrix belongs here.", standard_deviations),
        Slip("standard deviations for covariances", "you put standard deviations where covariances belong.", swap_std),
        Slip("square root of it all", "your value is the root of the right one; by convention the *squared* Fréchet distance is reported.", lambda x, y: distance(x, y).clamp(min=0).sqrt()),
    ]  # fmt: skip

    def right(features_a: Tensor, features_b: Tensor) -> Tensor:
        return distance(features_a, features_b)

    return compare("frechet", student, right, [*cases, far, few], slips, tolerance=1e-3)


PARTS = {
    "generator": "the generator's weights",
    "critic": "the discriminator's weights",
    "generator_optimiser": "the generator's optimiser: Adam's moments and its count of steps",
    "critic_optimiser": "the discriminator's optimiser, which the original assignment lost",
    "step": "the count of steps, which a learning-rate schedule and the logs go on from",
    "noise": "the state of the random stream, from which the next inputs come",
}


class Game:
    """A toy of everything that adversarial training has at hand; ``play`` takes steps of it, all of it exactly repeatable.

    Attributes:
        generator, critic: networks. generator_optimiser, critic_optimiser: Adam.
        step: how many have been taken; the learning rate falls with it.
        noise: a ``torch.Generator``, from which the inputs and the data are drawn.
    """

    def __init__(self) -> None:
        self.generator, self.critic, _, _ = _toys()
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), lr=0.01, betas=(0.5, 0.999))
        self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), lr=0.02, betas=(0.5, 0.9))
        self.step, self.noise = 0, torch.Generator().manual_seed(11)

    def play(self, n: int) -> None:
        """Take n steps."""
        for _ in range(n):
            self.step += 1
            for optimiser, lr in ((self.critic_optimiser, 0.02), (self.generator_optimiser, 0.01)):
                optimiser.param_groups[0]["lr"] = lr / self.step**0.5
            real = torch.randn(6, 4, generator=self.noise) + 1
            fake = self.generator(torch.randn(6, 3, generator=self.noise))
            loss = F.softplus(-self.critic(real)).mean() + F.softplus(self.critic(fake.detach())).mean()
            self.critic_optimiser.zero_grad()
            loss.backward()
            self.critic_optimiser.step()
            loss = F.softplus(-self.critic(fake)).mean()
            self.generator_optimiser.zero_grad()
            loss.backward()
            self.generator_optimiser.step()

    def restore(self, state: Mapping) -> None:
        """Take over what is in ``state``; what is missing there stays as in a fresh start."""
        for part in ("generator", "critic", "generator_optimiser", "critic_optimiser"):
            if part in state:
                getattr(self, part).load_state_dict(copy.deepcopy(state[part]))
        self.step = int(state.get("step", 0))
        if "noise" in state:
            self.noise.set_state(state["noise"])


@check
def save_state(student: Callable) -> Result:
    """Check ``save_state(game) -> dict``: all that a resumed run needs, as it is at this moment.

    The check plays on after the call, makes a new game from the dictionary, and compares with a game that was never
    interrupted.
    """
    name, n = "save_state", 5
    game = Game()
    game.play(n)
    state, failure = observe(name, student, (game,), ("game",))
    if failure is not None:
        return failure
    if not isinstance(state, Mapping):
        return told(name, False, f"your function returns a {type(state).__name__}; a dictionary is wanted.")
    missing = [part for part in PARTS if part not in state]
    if missing:
        told_parts = "; ".join(PARTS[part] for part in missing)
        return told(name, False, f"missing: {told_parts}.", f"no {missing[0]}" if len(missing) == 1 else "parts missing")  # fmt: skip
    strange = [part for part in state if part not in PARTS]
    if strange:
        return told(name, False, f"unknown key {strange[0]!r}; the keys are {', '.join(PARTS)}.")
    at_once = copy.deepcopy({k: v for k, v in state.items() if not isinstance(v, torch.Generator)})
    wrong = _wrong_part(Game, n, at_once)
    if wrong is not None:
        return told(name, False, *wrong)
    game.play(n)  # life goes on; the dictionary must not
    resumed, whole = Game(), Game()
    try:
        resumed.restore(state)
    except (TypeError, AttributeError, RuntimeError) as error:
        return told(name, False, f"it cannot be loaded again: {str(error).splitlines()[0]}")
    resumed.play(n)
    whole.play(2 * n)
    same = torch.equal(_flat(resumed.generator), _flat(whole.generator))
    if same and torch.equal(_flat(resumed.critic), _flat(whole.critic)):
        return told(name, True, f"right: {n} steps, a restart and {n} more are {2 * n} steps, bit for bit.")
    return told(name, False, "right at the moment of the call, but training on changed it: state_dict() hands out the living tensors. Copy them (copy.deepcopy), or write them to disk at once.", "living tensors")  # fmt: skip


def _wrong_part(make: Callable[[], Game], n: int, state: Mapping) -> tuple[str, str] | None:
    """What is in the wrong place or of the wrong kind, and the slip's name."""
    truth = make()
    truth.play(n)
    if not isinstance(state.get("noise"), Tensor):
        return "the stream itself is in your dictionary, and it will have gone on when you need it; keep noise.get_state().", "the stream itself"  # fmt: skip
    if not torch.equal(state["noise"], truth.noise.get_state()):
        if torch.equal(state["noise"], torch.get_rng_state()):
            return "that is PyTorch's global stream; this game draws from its own, game.noise.", "global stream"
        return "the random state is not the one of this moment: was something drawn before it was kept?", "late state"
    if int(state["step"]) != truth.step:
        return f"the step is {int(state['step'])}; the game has taken {truth.step}.", "wrong step"
    for part in ("generator", "critic"):
        own = getattr(truth, part).state_dict()
        if not isinstance(state[part], Mapping) or state[part].keys() != own.keys():
            return f"{part!r} does not hold {part}.state_dict().", "wrong weights"
        if any(not torch.equal(state[part][k], own[k]) for k in own):
            return f"the weights under {part!r} are not those of the {part}.", "wrong weights"
    for part, other in (("critic_optimiser", "generator_optimiser"), ("generator_optimiser", "critic_optimiser")):
        kept = state[part].get("state") if isinstance(state[part], Mapping) else None
        if kept is None:
            return f"{part!r} does not hold {part}.state_dict().", "wrong optimiser"
        if not kept:
            return f"{part!r} is that of a fresh optimiser: its moments are lost.", "fresh optimiser"
        own, swapped = getattr(truth, part).state_dict()["state"], getattr(truth, other).state_dict()["state"]
        if not _same_moments(kept, own):
            if _same_moments(kept, swapped):
                return f"{part!r} holds the other optimiser's state.", "one optimiser twice"
            return f"the moments under {part!r} are not those of this moment.", "wrong optimiser"
    return None


def _same_moments(a: Mapping, b: Mapping) -> bool:
    if a.keys() != b.keys():
        return False
    pairs = [(a[i]["exp_avg"], b[i]["exp_avg"]) for i in a]
    return all(x.shape == y.shape and torch.equal(x, y) for x, y in pairs)
