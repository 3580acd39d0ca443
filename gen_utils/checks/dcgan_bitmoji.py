"""The exercise checks of Part H, DCGAN on Bitmoji."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cases import Case, stream
from .compare import compare, observe
from .core import Result, Slip, attempt, check, told
from .small_games import Game, averages, first_optimiser, flat, toys


@check
def painted_sizes(student: Callable) -> Result:
    """Check ``painted_sizes(side, layers) -> list of int``: the side after each of the transposed convolutions.

    A layer is (kernel, stride, padding, output_padding).
    """

    def layers(number: int, n: int) -> list[tuple[int, int, int, int]]:
        numbers = stream(number)

        def below(high: int) -> int:
            return int(torch.randint(high, (), generator=numbers))

        # Each kernel is wide enough that the padding leaves something.
        return [(s + 1 + below(3), s, below(2), below(s)) for s in (2 + below(2) for _ in range(n))]

    def after(rule: Callable) -> Callable:
        def sizes(side: int, layers: list) -> list[int]:
            found = []
            for layer in layers:
                side = rule(side, *layer)
                found.append(side)
            return found

        return sizes

    right = after(lambda n, k, s, p, o: (n - 1) * s - 2 * p + k + o)
    cases = [(4, [(4, 2, 1, 0)] * 2), (7, [(3, 2, 1, 1)]), (1, [(4, 1, 0, 0), *layers(20, 1)]), (5, layers(21, 3))]
    slips = [
        Slip("ordinary convolution", "those are the sizes after ordinary convolutions, which shrink; transposed ones undo it.", after(lambda n, k, s, p, o: (n + 2 * p - k) // s + 1)),
        Slip("n for n - 1", "n inputs have n − 1 gaps of `stride` between them, not n.", after(lambda n, k, s, p, o: n * s - 2 * p + k + o)),
        Slip("padding once", "the padding is cut off on both sides: subtract it twice.", after(lambda n, k, s, p, o: (n - 1) * s - p + k + o)),
        Slip("padding added", "padding makes the output of a transposed convolution smaller: it is what the ordinary one would have added.", after(lambda n, k, s, p, o: (n - 1) * s + 2 * p + k + o)),
        Slip("no kernel", "the last input still paints a whole kernel: add its size.", after(lambda n, k, s, p, o: (n - 1) * s - 2 * p + 1 + o)),
        Slip("no output padding", "output_padding is missing: it is added at one side.", after(lambda n, k, s, p, o: (n - 1) * s - 2 * p + k)),
        Slip("n times stride", "right only for kernel 4, stride 2, padding 1. Count what n inputs paint in general.", after(lambda n, k, s, p, o: n * s)),
        Slip("not chained", "each layer is computed from the first side; it begins with what the layer before it has painted.", lambda side, layers: [right(side, [layer])[0] for layer in layers]),
        Slip("the start too", "the side at the start is in your list; only those after each layer are wanted.", lambda side, layers: [side, *right(side, layers)]),
        Slip("the last alone", "that is the side at the end; one number a layer is wanted.", lambda side, layers: right(side, layers)[-1]),
    ]  # fmt: skip
    return compare("painted_sizes", student, right, cases, slips)


@check
def dcgan_init(student: Callable) -> Result:
    """Check ``dcgan_init(network)``, in place: N(0, 0.02) weights, N(1, 0.02) batch-norm scales, biases zero.

    The layers are large enough that a standard deviation is known to a few per cent.
    """
    name = "dcgan_init"
    more = int(torch.randint(60, (), generator=stream(22)))
    network = nn.ModuleDict({
        "Conv2d": nn.Conv2d(32, 64, 4), "ConvTranspose2d": nn.ConvTranspose2d(64, 32, 4),
        "Linear": nn.Linear(180 + more, 100), "BatchNorm2d": nn.BatchNorm2d(2000 + more),
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


@check
def dcgan_step(student: Callable) -> Result:
    """Check ``dcgan_step(generator, critic, optimise_g, optimise_c, real, z, new_z) -> (critic's loss, generator's loss)``.

    Both networks have batch norm. The optimisers are SGD, so that the new weights tell the gradients, and with a momentum,
    which a step without them has not; the generator's running averages tell in which mode it was used.
    """
    name = "dcgan_step"
    first_optimiser()

    def case(number: int, n: int, rounds: int, pace: float = 1.0, *, sure: bool = False) -> tuple:
        new_z = torch.randn(n, 3, generator=stream(number + 30))
        return *toys(number, n, norm=True, sure=sure), new_z, rounds, pace

    why = "an exponential over- or underflows there. The softplus of the two losses bears such logits."
    cases = [
        Case(case(23, 6, 1)),
        Case(case(24, 7, 1)),
        Case(case(25, 6, 3), "three steps are taken"),
        Case(
            case(26, 6, 1, 1e-3, sure=True),
            "the discriminator is sure: its logits are hundreds of nats",
            "overflow",
            why,
        ),
    ]

    def play(step: Callable) -> Callable:
        """Steps as a function: what both networks have become, and the losses of the last step."""

        @functools.wraps(step, updated=())
        def run(
            generator: nn.Module, critic: nn.Module, real: Tensor, z: Tensor, new_z: Tensor, steps: int, pace: float
        ) -> tuple:
            optimise_g, optimise_c = (
                torch.optim.SGD(n.parameters(), lr=lr * pace, momentum=0.5)
                for n, lr in ((generator, 0.4), (critic, 0.3))
            )
            for _ in range(steps):
                losses = step(generator, critic, optimise_g, optimise_c, real, z, new_z)
            if isinstance(losses, (Tensor, np.ndarray)) and losses.ndim:
                losses = list(losses)
            losses = losses if isinstance(losses, (tuple, list)) and len(losses) == 2 else (losses, None)
            return flat(critic), flat(generator), averages(generator), *losses

        return run

    def up(f: Tensor) -> Tensor:
        return F.softplus(-f).mean()

    def down(f: Tensor) -> Tensor:
        return F.softplus(f).mean()

    def variant(
        *, shown="train", painted="train", judged="train", cut=False, leak=False, old=False, together=False, zero=True,
        clear=True, late=False, verdict=lambda real, fake: up(real) + down(fake), wish=up,
    ) -> Callable:  # fmt: skip
        """A step with its faults; shown, painted: the generator's mode in the two steps, judged: the critic's in the second."""

        def step(generator, critic, optimise_g, optimise_c, real, z, new_z) -> tuple[Tensor, Tensor]:
            with _mode(generator, shown):
                fake = generator(z)
            seen = fake if leak else fake.detach()
            on_real, on_fake = critic(torch.cat((real, seen))).chunk(2) if together else (critic(real), critic(seen))
            loss_c = verdict(on_real, on_fake)
            if zero:
                optimise_c.zero_grad()
            if leak:
                optimise_g.zero_grad()
            loss_c.backward(retain_graph=True)
            if not late:
                optimise_c.step()
            with _mode(generator, painted), _mode(critic, judged):
                fake = fake if old else generator(new_z)
                loss_g = wish(critic(fake.detach() if cut else fake))
            if clear and not leak:
                optimise_g.zero_grad()
            loss_g.backward()
            optimise_g.step()
            if late:
                optimise_c.step()
            return loss_c, loss_g

        return play(step)

    slips = [
        Slip("evaluation mode", "the weights move, but the generator's running averages stand where they began: it has been trained as if it had no batch norm, which DCGAN's small first weights do not bear.", variant(shown="eval", painted="eval")),
        Slip("two generators", "the discriminator learns from pictures of the running averages, the generator paints with those of the batch: they play about different pictures, and the averages have moved once in place of twice.", variant(shown="eval")),
        Slip("two generators", "the discriminator learns from pictures of the batch's averages, the generator's step paints with the running ones, so that its gradient is that of a network without batch norm.", variant(painted="eval")),
        Slip("critic's mode", "the generator is judged by a discriminator in evaluation mode, which is another function than the one that has just learnt.", variant(judged="eval")),
        Slip("one batch", "data and fakes go through the discriminator in one batch, so that batch norm mixes their means: each has its own batch in this chapter.", variant(together=True)),
        Slip("generator stays", "the generator's averages have moved and its weights have not: no gradient reaches them.", variant(cut=True)),
        Slip("old pictures", "the generator's step judges the pictures that the discriminator has just learnt from; new vectors are wanted.", variant(old=True)),
        Slip("two gradients", "the discriminator's step follows the sum of two gradients, its own and one that the generator's loss has left in it.", variant(late=True)),
        Slip("two gradients", "an old gradient was still in the discriminator when it stepped.", variant(zero=False)),
        Slip("generator polluted", "an old gradient was still in the generator when it stepped.", variant(clear=False)),
        Slip("generator polluted", "the discriminator's loss has gone back into the generator, whose step follows both.", variant(leak=True)),
        Slip("saturating", "the generator's loss is log(1 − D), whose gradient is nearly zero where fakes are bad.", variant(wish=lambda f: -down(f))),
        Slip("labels swapped", "in the discriminator's loss data and fakes have changed places.", variant(verdict=lambda real, fake: down(real) + up(fake))),
        Slip("halved", "the discriminator's loss is averaged over its two terms; they are added.", variant(verdict=lambda real, fake: (up(real) + down(fake)) / 2)),
    ]  # fmt: skip
    if not callable(student):
        return attempt(name, student)[1]
    outputs = ("the discriminator's weights", "the generator's weights", "the generator's running averages",
               "the discriminator's loss", "the generator's loss")  # fmt: skip
    return compare(name, play(student), variant(), cases, slips, outputs=outputs,
                   may_change=("critic weights", "generator weights"))  # fmt: skip


@contextlib.contextmanager
def _mode(network: nn.Module, mode: str) -> Iterator[None]:
    """In training or evaluation mode inside, in training mode afterwards."""
    network.train(mode == "train")
    try:
        yield
    finally:
        network.train()


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


@check
def save_state(student: Callable) -> Result:
    """Check ``save_state(game) -> dict``: all that a resumed run needs, as it is at this moment.

    The check plays on after the call, makes a new game from the dictionary, and compares with a game that was never
    interrupted.
    """
    name, n = "save_state", 4 + int(torch.randint(4, (), generator=stream(26)))
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
    same = torch.equal(flat(resumed.generator), flat(whole.generator))
    if same and torch.equal(flat(resumed.critic), flat(whole.critic)):
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
