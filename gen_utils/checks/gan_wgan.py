"""The exercise checks of Part F, generators and critics."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cases import Case, far, stream
from .compare import ALL, compare
from .core import Result, Slip, attempt, check
from .small_games import first_optimiser, flat, toys


@check
def discriminator_loss(student: Callable) -> Result:
    """Check ``discriminator_loss(real (B,), fake (B',)) -> scalar`` from logits: mean softplus(-real) + mean softplus(fake)."""
    numbers = stream(0)
    small = (torch.randn(6, generator=numbers) * 2, torch.randn(4, generator=numbers) * 2)
    cases = [small, far(torch.tensor([-300.0, 2.0]), torch.tensor([1.0, 300.0]), about="logits are ±300")]
    up, down = (lambda f: F.softplus(-f)), F.softplus  # -log D and -log(1 - D)

    slips = [
        Slip("sign", "the sign is turned: this is the value that the discriminator maximises, and a loss is minimised.", lambda r, f: -(up(r).mean() + down(f).mean())),
        Slip("labels swapped", "data and fakes have changed places: the discriminator learns to call data fake.", lambda r, f: down(r).mean() + up(f).mean()),
        Slip("sigmoid twice", "you applied the sigmoid before a loss that applies it itself; the logits are never beyond [0, 1] then.", lambda r, f: up(r.sigmoid()).mean() + down(f.sigmoid()).mean()),
        Slip("overflow", "right for small logits, but log(sigmoid) is −∞ for large ones; softplus or binary_cross_entropy_with_logits does not overflow.", lambda r, f: -(r.sigmoid().log().mean() + (1 - f.sigmoid()).log().mean())),
        Slip("only data", "the fakes are missing: a discriminator that calls everything real has no loss.", lambda r, f: up(r).mean()),
        Slip("only fakes", "the data are missing: a discriminator that calls everything fake has no loss.", lambda r, f: down(f).mean()),
        Slip("generator's view", "both terms are −log D: fakes are to be called real here, which is what the generator wants.", lambda r, f: up(r).mean() + up(f).mean()),
        Slip("halved", "you averaged the two terms; the equation adds them. (It trains as well, with half the rate.)", lambda r, f: (up(r).mean() + down(f).mean()) / 2),
        Slip("one mean", "you took one mean over data and fakes together; each has its own, or their numbers weigh in.", lambda r, f: torch.cat((up(r), down(f))).mean()),
        Slip("sum for mean", "the batch is summed; average it, or the step depends on the batch size.", lambda r, f: up(r).sum() + down(f).sum()),
    ]  # fmt: skip
    return compare(
        "discriminator_loss",
        student,
        lambda real, fake: up(real).mean() + down(fake).mean(),
        cases,
        slips,
        gradient=ALL,
    )


@check
def best_discriminator(student: Callable) -> Result:
    """Check ``best_discriminator(log_p (B,), log_q (B,), weight) -> D (B,)``: p / (p + weight · q), from logarithms."""
    numbers = stream(9)
    n = 5 + int(torch.randint(4, (), generator=numbers))
    p, q = torch.randn(n, generator=numbers) - 1, torch.randn(n, generator=numbers) - 2
    deep = torch.tensor([-900.0, -500.0, -2.0, 300.0]) + torch.rand(4, generator=numbers)
    cases = [
        (p, q, 1.0),
        (q, p, 1.5 + 3 * torch.rand((), generator=numbers).item()),
        (p, q, 0.2 + 0.3 * torch.rand((), generator=numbers).item()),
        far(
            deep,
            deep + torch.tensor([1.5, -40.0, -900.0, 0.7]),
            2.0,
            about="the densities are beyond what exp can hold",
        ),
    ]

    def log(w: float) -> Tensor:
        return torch.tensor(w).log()

    slips = [
        Slip("turned", "that is the probability that x is a fake; D is the probability that it is real.", lambda p, q, w: torch.sigmoid(q + log(w) - p)),
        Slip("weight forgotten", "right for weight 1 only: put the weight into the loss before you differentiate.", lambda p, q, w: torch.sigmoid(p - q)),
        Slip("weight on the data", "the weight stands with the fakes; yours multiplies the data's density.", lambda p, q, w: torch.sigmoid(p - q + log(w))),
        Slip("weight on the data", "the weight stands with the fakes; yours divides the data's share in p / (p + q).", lambda p, q, w: torch.sigmoid(p - q) / w),
        Slip("logit", "that is the best logit; a probability is asked for.", lambda p, q, w: p - q - log(w)),
        Slip("ratio", "that is the ratio of the two densities, which has no upper bound; a probability is asked for.", lambda p, q, w: (p - q - log(w)).exp()),
        Slip("logarithm of D", "that is the logarithm of the probability.", lambda p, q, w: F.logsigmoid(p - q - log(w))),
        Slip("logarithms for densities", "you put the logarithms where the densities belong.", lambda p, q, w: p / (p + w * q)),
        Slip("a logarithm's weight", "the weight multiplies the density, so to its logarithm log(weight) is added; you multiplied the logarithm.", lambda p, q, w: torch.sigmoid(p - w * q)),
        Slip("a logarithm's weight", "the weight multiplies the density, so to its logarithm log(weight) is added; you added the weight itself.", lambda p, q, w: torch.sigmoid(p - q - w)),
    ]  # fmt: skip
    return compare(
        "best_discriminator",
        student,
        lambda log_p, log_q, weight: torch.sigmoid(log_p - log_q - log(weight)),
        cases,
        slips,
    )


@check
def generator_loss(student: Callable) -> Result:
    """Check ``generator_loss(fake (B,)) -> scalar`` from logits, non-saturating: mean softplus(-fake)."""
    numbers = stream(1)
    cases = [(torch.randn(6, generator=numbers) * 2,), far(torch.tensor([-300.0, 1.0]), about="a logit is −300")]

    slips = [
        Slip("saturating", "that is log(1 − D), the minimax form: where fakes are bad its gradient is nearly zero. Minimise −log D instead.", lambda f: -F.softplus(f).mean()),
        Slip("sign", "the sign is turned: it is log D, whose minimum is a fake that nobody believes.", lambda f: -F.softplus(-f).mean()),
        Slip("discriminator's view", "that is −log(1 − D), the discriminator's term: its minimum is a fake that is seen through.", lambda f: F.softplus(f).mean()),
        Slip("sigmoid twice", "you applied the sigmoid before a loss that applies it itself.", lambda f: F.softplus(-f.sigmoid()).mean()),
        Slip("overflow", "right for small logits; for −300 the logarithm of the sigmoid is −∞. Use softplus.", lambda f: -f.sigmoid().log().mean()),
        Slip("Wasserstein", "that is minus the mean score, WGAN's loss.", lambda f: -f.mean()),
        Slip("sum for mean", "the batch is summed; average it.", lambda f: F.softplus(-f).sum()),
    ]  # fmt: skip
    return compare("generator_loss", student, lambda fake: F.softplus(-fake).mean(), cases, slips, gradient=ALL)


@check
def gan_round(student: Callable) -> Result:
    """Check ``gan_round(generator, critic, optimise_g, optimise_c, real, z)``: one critic step, then one of the generator.

    The networks are toys with stale gradients in them. The optimisers are SGD, so that the new weights tell the gradients,
    and with a momentum, which a step without them has not.
    """
    name = "gan_round"
    first_optimiser()
    why = "an exponential over- or underflows there. The two losses that you wrote above bear such logits."
    cases = [
        Case((*toys(10), 1, 1.0)),
        Case((*toys(11, 5), 1, 1.0)),
        Case((*toys(12), 3, 1.0), "three rounds are played"),
        Case((*toys(13, sure=True), 1, 1e-3), "the critic is sure: its logits are hundreds of nats", "overflow", why),
    ]
    up, down = (lambda f: F.softplus(-f).mean()), (lambda f: F.softplus(f).mean())

    def play(a_round: Callable) -> Callable:
        """Rounds as a function: the weights of both networks after them."""

        @functools.wraps(a_round, updated=())
        def run(
            generator: nn.Module, critic: nn.Module, real: Tensor, z: Tensor, rounds: int, pace: float
        ) -> tuple[Tensor, Tensor]:
            optimise_g, optimise_c = (
                torch.optim.SGD(n.parameters(), lr=lr * pace, momentum=0.5)
                for n, lr in ((generator, 0.4), (critic, 0.3))
            )
            for _ in range(rounds):
                a_round(generator, critic, optimise_g, optimise_c, real, z)
            return flat(critic), flat(generator)

        return run

    def variant(plan: str, *, clear: str = "cg", of_critic: Callable | None = None, wish: Callable = up) -> Callable:
        """A round by its plan: c, g the backward passes, C, G the steps, x, y clear the critic's, the generator's gradients.

        In l the critic's fakes are not detached, in k the generator's are; n makes new fakes of the same inputs.
        """

        def a_round(generator, critic, optimise_g, optimise_c, real, z) -> None:
            fake = generator(z)
            judged = of_critic or (lambda on_real, on_fake: up(on_real) + down(on_fake))
            losses = {
                "c": lambda x: judged(critic(real), critic(x.detach())), "l": lambda x: judged(critic(real), critic(x)),
                "g": lambda x: wish(critic(x)), "k": lambda x: wish(critic(x.detach())),
            }  # fmt: skip
            done = {"C": optimise_c.step, "G": optimise_g.step, "x": optimise_c.zero_grad, "y": optimise_g.zero_grad}
            for what in plan:
                if what in losses:
                    losses[what](fake).backward(retain_graph=True)
                elif what == "n":
                    fake = generator(z)
                else:
                    done[what]()

        return play(a_round)

    slips = [
        Slip("two gradients", "the critic's step follows the sum of two gradients, its own and the one that the generator's loss has left in it: at the fakes they pull in opposite directions.", variant("xycgCG")),
        Slip("two gradients", "the critic's step follows the sum of its own gradient and one that a loss has left there before.", variant("cCygG")),
        Slip("the generator's wish", "the critic's own gradient is gone before its step: it moves as the generator's loss wishes, and calls fakes real.", variant("ycxgCG")),
        Slip("generator polluted", "the critic is right, but the generator's step follows the sum of two gradients: the critic's loss has run on into it.", variant("xylCgG")),
        Slip("generator polluted", "the critic is right, but the generator's step follows the sum of its own gradient and one that was there before.", variant("xcCgG")),
        Slip("at the same time", "each network follows its own gradient, but the generator is judged by the critic as it was before its step. The algorithm lets the critic step first.", variant("xcygxcCG")),
        Slip("generator first", "the generator moves before the critic. The algorithm lets the critic step first.", variant("ygGxcC")),
        Slip("generator first", "the generator moves before the critic. The algorithm lets the critic step first.", variant("ygGnxcC")),
        Slip("generator stays", "the critic is right; the generator has not moved.", variant("xcCyk")),
        Slip("critic stays", "the critic has not moved.", variant("ygG")),
        Slip("saturating", "the critic is right; the generator's loss is log(1 − D), whose gradient is nearly zero where fakes are bad.", variant("xcCygG", wish=lambda f: -down(f))),
        Slip("labels swapped", "in the critic's loss data and fakes have changed places.", variant("xcCygG", of_critic=lambda r, f: down(r) + up(f))),
        Slip("halved", "you averaged the two terms of the critic's loss; they are added.", variant("xcCygG", of_critic=lambda r, f: (up(r) + down(f)) / 2)),
    ]  # fmt: skip
    if not callable(student):
        return attempt(name, student)[1]
    outputs = ("the critic's weights", "the generator's weights")
    return compare(name, play(student), variant("xcCygG"), cases, slips, outputs=outputs,
                   may_change=("critic weights", "generator weights"))  # fmt: skip


@check
def wgan_critic_step(student: Callable) -> Result:
    """Check ``wgan_critic_step(critic, optimiser, generator, real, z, clip)``: one step in place, weights then clipped.

    The check looks at the critic's weights after the step and at the generator's gradients, which must be none.
    """
    name = "wgan_critic_step"
    first_optimiser()
    numbers = stream(2)
    weights = torch.randn(4, generator=numbers) * 0.3
    weights[3] += 0.5 * weights[3].sign()  # a bias has no gradient here: it must be too large to begin with
    critic, generator = _line(weights), _flat_generator()
    real, z = torch.randn(5, 3, generator=numbers) + 1, torch.randn(5, 2, generator=numbers)
    # Some weights are clipped and some are not; then none is; then the bound is tight.
    cases = [(critic, generator, real, z, clip) for clip in (0.35, 10.0, 0.02)]

    def play(step: Callable) -> Callable:
        """The step as a function: the critic's weights after it, and what it did to the gradients of the generator."""

        @functools.wraps(step)
        def run(critic: nn.Module, generator: nn.Module, real: Tensor, z: Tensor, clip: float) -> tuple[Tensor, Tensor]:
            before = [p.grad.clone() for p in generator.parameters()]
            step(critic, torch.optim.SGD(critic.parameters(), lr=0.1), generator, real, z, clip)
            after = [torch.zeros_like(p) if p.grad is None else p.grad for p in generator.parameters()]
            left = sum((a - b).abs().sum() for a, b in zip(after, before, strict=True))
            return flat(critic), left

        return run

    def wrong(*, sign=1.0, detach="fake", clip_what="weights", zero=True) -> Callable:
        def step(critic, optimiser, generator, real, z, clip):
            fake = generator(z)
            fake = fake if detach in ("none", "score") else fake.detach()
            on_fake = critic(fake).detach() if detach == "score" else critic(fake)
            loss = sign * (on_fake.mean() - critic(real).mean())
            if zero:
                optimiser.zero_grad()
            loss.backward()
            if clip_what == "gradients":
                for p in critic.parameters():
                    p.grad.clamp_(-clip, clip)
            if clip_what == "before":
                for p in critic.parameters():
                    p.data.clamp_(-clip, clip)
            if clip_what == "norm":
                nn.utils.clip_grad_norm_(critic.parameters(), clip)
            optimiser.step()
            if clip_what == "weights":
                for p in critic.parameters():
                    p.data.clamp_(-clip, clip)
            if clip_what == "no biases":
                for p in critic.parameters():
                    if p.ndim > 1:
                        p.data.clamp_(-clip, clip)
            if clip_what == "generator":
                for p in generator.parameters():
                    p.data.clamp_(-clip, clip)

        return play(step)

    slips = [
        Slip("sign", "the loss is turned round: the critic's score of fakes rises and that of data falls.", wrong(sign=-1.0)),
        Slip("gradients clipped", "you clipped the gradients. WGAN bounds the weights themselves, after the step, so that the critic's slope is bounded.", wrong(clip_what="gradients")),
        Slip("gradients clipped", "you clipped the norm of the gradients. WGAN bounds the weights themselves, after the step.", wrong(clip_what="norm")),
        Slip("no clipping", "the weights are not clipped: without a bound on its slope the critic can make the difference as large as it likes.", wrong(clip_what="none")),
        Slip("no clipping", "you clipped the generator; the critic is the one that must be Lipschitz.", wrong(clip_what="generator")),
        Slip("biases left", "the biases are parameters too, and WGAN clips them all.", wrong(clip_what="no biases")),
        Slip("clipped too early", "you clipped before the step; the step then leaves the bound again. Clip after it.", wrong(clip_what="before")),
        Slip("no detach", "the critic is right, but gradients ran on into the generator: detach the fakes, or make them under no_grad. It costs a backward pass, and a generator whose gradients are not cleared later steps the wrong way.", wrong(detach="none")),
        Slip("score detached", "the critic learns nothing from the fakes: their score is missing from the loss, or detached. Detach the images, before the critic sees them.", wrong(detach="score")),
        Slip("no zero_grad", "the gradients of the step before are still there: zero_grad before backward.", wrong(zero=False)),
    ]  # fmt: skip
    if not callable(student):
        return attempt(name, student)[1]
    return compare(name, play(student), wrong(), cases, slips, may_change=("critic weights",),
                   outputs=("the critic's weights after the step", "what is left in the generator's gradients"))  # fmt: skip


def _line(weights: Tensor) -> nn.Module:
    critic = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    with torch.no_grad():
        critic[0].weight.copy_(weights[:3].view(1, 3))
        critic[0].bias.copy_(weights[3:])
    return critic


def _flat_generator() -> nn.Module:
    generator = nn.Linear(2, 3)
    with torch.no_grad():
        generator.weight.copy_(torch.linspace(-1, 1, 6).view(3, 2))
        generator.bias.zero_()
    return generator


class _Critic(nn.Module):
    """A smooth critic of images with four pixels."""

    def __init__(self, first: Tensor, last: Tensor) -> None:
        super().__init__()
        self.first, self.last = nn.Parameter(first), nn.Parameter(last)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x.flatten(1) @ self.first) @ self.last


def _tiny(seed: int, n: int = 4, scale: float = 1.0) -> tuple[nn.Module, Tensor, Tensor]:
    """A critic of 1×2×2 images, real images and fakes."""
    numbers = stream(seed)
    critic = _Critic(torch.randn(4, 5, generator=numbers), scale * torch.randn(5, generator=numbers))
    return critic, torch.randn(n, 1, 2, 2, generator=numbers) + 0.5, torch.randn(n, 1, 2, 2, generator=numbers)


@check
def gradient_penalty(student: Callable) -> Result:
    """Check ``gradient_penalty(critic, real, fake, u (B,)) -> scalar`` at x̂ = u·real + (1 - u)·fake, and its graph."""
    name = "gradient_penalty"
    numbers = stream(3)
    cases = [
        (*_tiny(3), torch.rand(4, generator=numbers)),
        (*_tiny(4, 6), torch.rand(6, generator=numbers)),
        (*_tiny(15, 5, scale=0.2), torch.rand(5, generator=numbers)),
    ]  # steep slopes, and flat ones

    def penalty(
        critic, real, fake, u, *, place="own", graph=True, norm="each", target=1.0, power=2, mean=True, sided=2
    ) -> Tensor:
        u = u.view(-1, 1, 1, 1)
        u = {"own": u, "turned": 1 - u, "shared": u[:1], "mean": u.mean(), "real": 1.0, "fake": 0.0}[place]
        x = (u * real + (1 - u) * fake).detach().requires_grad_()
        score = critic(x)
        (grad,) = torch.autograd.grad(score.sum(), x, create_graph=graph)
        if norm == "batch":
            length = grad.norm()
        elif norm == "squared":
            length = grad.square().flatten(1).sum(1)
        else:
            length = grad.abs() if norm == "pixel" else grad.flatten(1).norm(dim=1)
        excess = length - target
        excess = excess.clamp(min=0) if sided == 1 else excess
        excess = excess.abs() if power == 1 else excess.square()
        return excess.mean() if mean else excess.sum()

    def slip(**how) -> Callable:
        return lambda *args: penalty(*args, **how)

    slips = [
        Slip("no graph", "the value is right, but it has lost its graph: with create_graph=True the gradient can be differentiated once more, and the penalty reaches the critic's weights.", slip(graph=False)),
        Slip("one norm", "you took one norm over the whole batch; each image has its own gradient and its own norm: flatten(1).norm(dim=1).", slip(norm="batch")),
        Slip("shared place", "all images sit at one and the same fraction of their way; u has one number an image: view(-1, 1, 1, 1).", slip(place="shared")),
        Slip("shared place", "you averaged u over the batch; each image has its own.", slip(place="mean")),
        Slip("not between", "the gradient is taken at the data themselves. That is another penalty; this one looks between data and fakes.", slip(place="real")),
        Slip("not between", "the gradient is taken at the fakes; this penalty looks between data and fakes.", slip(place="fake")),
        Slip("turned", "u and 1 − u have changed places. (As u is uniform that trains as well; the check has the formula's.)", slip(place="turned")),
        Slip("no minus one", "you punish the norm itself; here it is to be 1: (‖∇‖ − 1)². With 0 in place of 1 this is R1's form.", slip(target=0.0)),
        Slip("squared norm", "you subtracted 1 from the squared norm: (‖∇‖² − 1)². The root comes first.", slip(norm="squared")),
        Slip("absolute", "you took |‖∇‖ − 1|; it is squared.", slip(power=1)),
        Slip("one-sided", "you punish only norms above 1. That is the one-sided penalty; the one here has two sides.", slip(sided=1)),
        Slip("pixel by pixel", "you subtracted 1 from each pixel's derivative; the norm over the pixels of an image comes first.", slip(norm="pixel")),
        Slip("sum for mean", "the batch is summed; average it.", slip(mean=False)),
    ]  # fmt: skip
    return compare(
        name, student, lambda critic, real, fake, u: penalty(critic, real, fake, u), cases, slips, gradient=("critic",)
    )


@check
def relativistic_critic_loss(student: Callable) -> Result:
    """Check ``relativistic_critic_loss(critic, real, fake, gamma) -> scalar``: pairs, and γ/2 (R1 + R2), with its graph."""
    name = "relativistic_critic_loss"
    cases = [
        (*_tiny(5), 0.7),
        (*_tiny(6, 6), 2.0),
        (*_tiny(7), 0.0),
        far(*_tiny(9, scale=300.0), 0.01, about="the scores are hundreds apart"),
    ]

    def loss(
        critic, real, fake, gamma, *, sign=1.0, pairs="pairs", r1=True, r2=True, half=True, square=True, graph=True,
        summed=False, plain=False,
    ) -> Tensor:  # fmt: skip
        x, y = real.detach().requires_grad_(), fake.detach().requires_grad_()
        a, b = critic(x), critic(y)
        if plain:
            value = F.softplus(-a).mean() + F.softplus(b).mean()
        elif pairs == "all":
            value = F.softplus(-(a[:, None] - b)).mean()
        else:
            gap = a - b if pairs == "pairs" else a.mean() - b.mean()
            value = F.softplus(-sign * gap).mean()
        for on, score, at in ((r1, a, x), (r2, b, y)):
            if on:
                (grad,) = torch.autograd.grad(score.sum(), at, create_graph=graph, retain_graph=True)
                size = grad.square().flatten(1).sum(1)
                size = size if square else size.sqrt()
                value = value + gamma * (0.5 if half else 1.0) * (size.sum() if summed else size.mean())
        return value

    def slip(**how) -> Callable:
        return lambda *args: loss(*args, **how)

    slips = [
        Slip("sign", "the pair is turned round: the critic is rewarded when the fake scores higher.", slip(sign=-1.0)),
        Slip("no pairs", "you compared mean with mean. softplus is applied to each pair's difference, and the mean is taken after it.", slip(pairs="means")),
        Slip("all pairs", "every image is compared with every fake (a broadcast, such as (B, 1) − (B,)); only row b with row b.", slip(pairs="all")),
        Slip("not relativistic", "that is the original GAN's loss, each score by itself; here only the difference of a pair counts.", slip(plain=True)),
        Slip("R2 missing", "the penalty at the fakes, R2, is missing.", slip(r2=False)),
        Slip("R1 missing", "the penalty at the data, R1, is missing.", slip(r1=False)),
        Slip("no penalty", "both penalties are missing.", slip(r1=False, r2=False)),
        Slip("gamma not halved", "the penalties have weight γ/2 each; yours have γ.", slip(half=False)),
        Slip("norm not squared", "R1 and R2 are squared norms; yours are norms.", slip(square=False)),
        Slip("no graph", "the value is right, but the penalties have lost their graph: create_graph=True.", slip(graph=False)),
        Slip("sum for mean", "the penalties are summed over the batch; average them.", slip(summed=True)),
    ]  # fmt: skip
    return compare(
        name,
        student,
        lambda critic, real, fake, gamma: loss(critic, real, fake, gamma),
        cases,
        slips,
        gradient=("critic",),
    )


@check
def margin_loss(student: Callable) -> Result:
    """Check ``margin_loss(energy_real (B,), energy_fake (B',), margin) -> scalar``: EBGAN's critic."""
    numbers = stream(13)
    real = torch.rand(3, generator=numbers)
    fake = torch.rand(5, generator=numbers) + torch.tensor([0.0, 0.0, 1.1, 1.1, 0.5])  # on both sides of a margin of 1
    cases = [(real, fake, 1.0), (real, fake, 0.2), (real, fake, 5.0)]

    slips = [
        Slip("sign", "the roles are turned: the energy of fakes falls and that of data is pushed to the margin.", lambda r, f, m: f.mean() + F.relu(m - r).mean()),
        Slip("no hinge", "without max(0, ·) the energy of fakes is pushed up for ever, and it soon outweighs the data.", lambda r, f, m: r.mean() + m - f.mean()),
        Slip("hinge turned", "your hinge pushes on fakes beyond the margin: it is max(0, margin − E).", lambda r, f, m: r.mean() + F.relu(f - m).mean()),
        Slip("mean inside", "you averaged before the hinge: one very bad fake then excuses all the others.", lambda r, f, m: r.mean() + F.relu(m - f.mean())),
        Slip("only fakes", "the data's energy is missing.", lambda r, f, m: F.relu(m - f).mean()),
        Slip("no margin", "the margin is not used.", lambda r, f, m: r.mean() + F.relu(-f).mean()),
        Slip("sum for mean", "the batch is summed; average each term.", lambda r, f, m: r.sum() + F.relu(m - f).sum()),
    ]  # fmt: skip
    return compare(
        "margin_loss",
        student,
        lambda energy_real, energy_fake, margin: energy_real.mean() + F.relu(margin - energy_fake).mean(),
        cases,
        slips,
        gradient=ALL,
    )


@check
def pulling_away(student: Callable) -> Result:
    """Check ``pulling_away(codes (B, d)) -> scalar``: mean squared cosine over the pairs of different rows."""
    numbers = stream(8)
    cases = [(torch.randn(5, 3, generator=numbers) * 3,), (torch.eye(3) * 2 + torch.rand(3, 3, generator=numbers) / 5,)]

    def term(s: Tensor, *, normed=1, diagonal=False, square=True, pairs=True, upper=False) -> Tensor:
        n = len(s)
        if normed is not None:
            s = F.normalize(s, dim=normed)
        c = s @ s.T
        c = c.square() if square else c
        total = c.sum() if diagonal else c.sum() - c.diagonal().sum()
        total = total / 2 if upper else total
        return total / (n * (n - 1) if pairs else n * n)

    def slip(**how) -> Callable:
        return lambda s: term(s, **how)

    slips = [
        Slip("diagonal", "each code is compared with itself too: those cosines are 1 whatever the generator does. Leave the diagonal out.", slip(diagonal=True, pairs=False)),
        Slip("diagonal", "each code is compared with itself too, and you divide by B(B − 1). Leave the diagonal out.", slip(diagonal=True)),
        Slip("not normalised", "these are inner products, not cosines: a generator could lower them by shrinking its codes. Divide by the lengths.", slip(normed=None)),
        Slip("normalised over the batch", "you normalised along the batch; each code is divided by its own length, dim=1.", slip(normed=0)),
        Slip("not squared", "the cosines are not squared: opposite codes (−1) would then count as better than orthogonal ones (0).", slip(square=False)),
        Slip("divided by B²", "without the diagonal there are B(B − 1) pairs, not B².", slip(pairs=False)),
        Slip("half the pairs", "you summed each pair once and divided by twice as many.", slip(upper=True)),
    ]  # fmt: skip
    return compare("pulling_away", student, lambda codes: term(codes), cases, slips, gradient=ALL)
