"""The exercise checks of Part C, conditional energies on small colour images."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .cases import far, fresh, stream
from .compare import ALL, compare, observe
from .core import Result, Slip, called, check, told


@check
def epsilon_form(student: Callable) -> Result:
    """Check ``epsilon_form(epsilon) -> (step_size, noise)``: η = ε²/2 and σ = ε."""
    name = "epsilon_form"
    cases = (0.5, 1.5, 3.0, 10)
    pairs = []
    for epsilon in cases:
        value, failure = observe(name, student, (epsilon,), ("epsilon",))
        if failure is not None:
            return failure
        if value is None:
            return told(name, False, "your function returns nothing; is the return missing?")
        pair = _two_numbers(value)
        if pair is None:
            return told(
                name, False, f"two numbers are wanted, the step size and the noise; yours is a {type(value).__name__}."
            )
        pairs.append(pair)

    def matches(place: int, formula: Callable[[float], float]) -> bool:
        return all(math.isclose(p[place], formula(e), rel_tol=1e-4) for p, e in zip(pairs, cases, strict=True))

    def half_square(e: float) -> float:
        return e * e / 2

    def same(e: float) -> float:
        return e

    if matches(0, half_square) and matches(1, same):
        return told(name, True, f"right, for {len(cases)} values of ε.")
    if matches(1, half_square) and matches(0, same):
        return told(name, False, "both are right, and in the wrong order: the step size comes first.", "order")
    step_slips = [
        ("step ε", "the step size is what stands in front of ∇E, and that is not ε itself.", same),
        ("step ε²", "the factor ½ is missing from the step size.", lambda e: e * e),
        ("step ε/2", "ε enters the step size squared.", lambda e: e / 2),
        ("sign", "the minus belongs to the formula x − η∇E + σξ; the step size is positive.", lambda e: -e * e / 2),
    ]
    noise_slips = [
        ("noise ε²", "the noise is what stands in front of ξ: a standard deviation. You return its variance.", lambda e: e * e),
        ("noise √ε", "no root is needed: the noise is what stands in front of ξ.", math.sqrt),
        ("noise from ε", "σ = √(2η) is right, but you put ε in the place of η.", lambda e: math.sqrt(2 * e)),
        ("noise ε²/2", "that is η; the noise is what stands in front of ξ.", half_square),
        ("noise of the wrong η", "your noise is √η: at temperature 1 it is √(2η).", lambda e: e / math.sqrt(2)),
    ]  # fmt: skip
    for place, what, right, slips in ((0, "step size", half_square, step_slips), (1, "noise", same, noise_slips)):
        if matches(place, right):
            continue
        for slip, hint, wrong in slips:
            if matches(place, wrong):
                return told(name, False, hint, slip)
        return told(name, False, f"your {what} for ε = {cases[0]} is {pairs[0][place]:.4g}; lay the two formulas side by side, and read off what stands in the same place.")  # fmt: skip
    raise AssertionError("one of the two is wrong")


def _two_numbers(value: object) -> tuple[float, float] | None:
    try:
        first, second = value
        return float(first), float(second)
    except (TypeError, ValueError, RuntimeError):
        return None


@check
def geometric_schedule(student: Callable) -> Result:
    """Check ``geometric_schedule(t, n_steps, start, end) -> float``: start · (end / start)^(t / n_steps)."""
    cases = [(1, 5, 10.0, 0.5), (3, 5, 10.0, 0.5), (5, 5, 10.0, 0.5), (2, 8, 0.3, 4.0), (8, 8, 0.3, 4.0)]

    def number(formula: Callable) -> Callable:
        return lambda t, n, a, b: torch.tensor(float(formula(t, n, a, b)), dtype=torch.float64)

    slips = [
        ("linear", "you go from start to end in equal differences; equal ratios are wanted.", lambda t, n, a, b: a + (b - a) * t / n),
        ("linear", "you go from start to end in equal differences (and count from 0); equal ratios are wanted.", lambda t, n, a, b: a + (b - a) * (t - 1) / (n - 1)),
        ("linear", "you go from start to end in equal differences (and count from 0); equal ratios are wanted.", lambda t, n, a, b: a + (b - a) * (t - 1) / n),
        (
            "does not arrive",
            "with (t − 1) / n_steps the first step has exactly start and the last one stops short of end. "
            "Steps are counted from 1, and the last must have end.",
            lambda t, n, a, b: a * (b / a) ** ((t - 1) / n),
        ),
        (
            "starts at start",
            "with (t − 1) / (n_steps − 1) you arrive at end, but the first step has exactly start (and one step alone "
            "divides by zero). Here start is the value before the first step, at t = 0.",
            lambda t, n, a, b: a * (b / a) ** ((t - 1) / (n - 1)),
        ),
        ("upside down", "the ratio is upside down: at t = n_steps the start must cancel and leave end.", lambda t, n, a, b: a * (a / b) ** (t / n)),
        ("backwards", "your schedule runs from end to start.", lambda t, n, a, b: b * (a / b) ** (t / n)),
        ("no time", "your value does not depend on t: the ratio is raised to the share of the way that is done.", lambda t, n, a, b: b),
        ("no n_steps", "the exponent is t; it must be a share of the way, between 0 and 1.", lambda t, n, a, b: a * (b / a) ** t),
        ("exponent upside down", "the exponent is upside down: it grows from 1 / n_steps to 1.", lambda t, n, a, b: a * (b / a) ** (n / t)),
        ("ratio times time", "the share of the way multiplies the ratio; make it the exponent.", lambda t, n, a, b: a * (b / a) * t / n),
        ("no start", "that is the share of start that is left; multiply it by start.", lambda t, n, a, b: (b / a) ** (t / n)),
        ("logarithm", "that is the logarithm of the value; take exp.", lambda t, n, a, b: math.log(a) + math.log(b / a) * t / n),
    ]  # fmt: skip
    right = lambda t, n_steps, start, end: start * (end / start) ** (t / n_steps)  # noqa: E731
    return compare(
        "geometric_schedule", student, right, cases, [Slip(slip, hint, number(wrong)) for slip, hint, wrong in slips]
    )


@check
def label_energy(student: Callable) -> Result:
    """Check ``label_energy(outputs (B, K), labels (B,)) -> (B,)``: each row's entry at its own label."""
    numbers = stream(0)
    square = (torch.randn(5, 5, generator=numbers), torch.tensor([2, 0, 4, 4, 1]))
    cases = [
        (torch.randn(7, 4, generator=numbers), torch.tensor([3, 0, 2, 2, 1, 3, 0])),
        (torch.randn(3, 10, generator=numbers) * 5, torch.tensor([9, 1, 4])),
        (torch.randn(1, 4, generator=numbers), torch.tensor([2])),
    ]

    def own(outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.gather(1, labels[:, None]).squeeze(1)

    changed = "the outputs are energies already, unnormalised: no softmax, no logarithm, only the entry of the label."
    normal = "that is −log p(y | x), which is normalised over the labels; the energy is the bare entry."
    summed = "that is the energy of the image whatever its label (up to a sign); here the label is given."
    slips = [
        Slip("rows", "outputs[labels] takes whole rows, those of other images; keep row b and choose the column.", lambda o, y: o[y]),
        Slip(
            "columns",
            "outputs[:, labels] takes every label's column for every image, a (B, B) table. "
            "Pair row b with label b: index both dimensions.",
            lambda o, y: o[:, y],
        ),
        Slip("trailing dimension", "the values are right, but in shape (B, 1): drop the last dimension with squeeze(1).", lambda o, y: own(o, y)[:, None]),
        Slip("wrong dimension", "gather along dimension 1, the labels'; along 0 it walks over the images.", lambda o, y: o.gather(0, y[:, None]).squeeze(1)),
        Slip("transposed", "rows and columns are swapped: the first index is the image, the second the label (gather: dimension 1).", lambda o, y: o[y, torch.arange(len(y))]),
        Slip("diagonal", "the diagonal takes label b for image b; use the labels.", lambda o, y: o.diagonal()),
        Slip("first label", "you took the same column for every image; use the labels.", lambda o, y: o[:, 0]),
        Slip("sign", "the outputs are energies: no minus.", lambda o, y: -own(o, y)),
        Slip("softmax", changed, lambda o, y: own(o.softmax(1), y)),
        Slip("softmax", changed, lambda o, y: own((-o).softmax(1), y)),
        Slip("softmax", changed, lambda o, y: own(o.log_softmax(1), y)),
        Slip("softmax", normal, lambda o, y: -own(o.log_softmax(1), y)),
        Slip("softmax", normal, lambda o, y: -own((-o).log_softmax(1), y)),
        Slip("marginal", summed, lambda o, y: -torch.logsumexp(-o, 1)),
        Slip("marginal", summed, lambda o, y: torch.logsumexp(o, 1)),
        Slip("marginal", summed, lambda o, y: -torch.logsumexp(o, 1)),
        Slip("lowest", "that is the energy of the most likely label; take the given one's.", lambda o, y: o.amin(1)),
        Slip("lowest", "that is each image's highest output; take the given label's.", lambda o, y: o.amax(1)),
        Slip("summed", "you reduced the batch to one number; one energy an image is wanted.", lambda o, y: own(o, y).sum()),
        Slip("summed", "you reduced the batch to one number; one energy an image is wanted.", lambda o, y: own(o, y).mean()),
    ]  # fmt: skip
    return compare("label_energy", student, own, [square, *cases], slips, gradient=ALL)


@check
def draw_starts(student: Callable) -> Result:
    """Check ``draw_starts(buffer (K, M, C, H, W), labels (B,), index (B,), fresh (B,), noise (B, C, H, W))``.

    Row b of the answer is noise[b] where fresh[b], else buffer[labels[b], index[b]].
    """
    name = "draw_starts"
    numbers = stream(1)
    no, yes = False, True

    def case(k: int, m: int, labels: list[int], index: list[int], fresh: list[bool]) -> tuple[Tensor, ...]:
        buffer = torch.randn((k, m, 3, 2, 4), generator=numbers)
        noise = torch.rand((len(labels), 3, 2, 4), generator=numbers) * 2 - 1
        return buffer, torch.tensor(labels), torch.tensor(index), torch.tensor(fresh), noise

    # In the square case every wrong way of indexing is possible, so that it can be named.
    square = case(5, 5, [2, 0, 4, 4, 1], [1, 3, 0, 2, 1], [no, no, yes, no, yes])
    cases = [
        case(4, 7, [3, 0, 2, 2, 1, 3], [6, 0, 4, 5, 2, 1], [no, yes, no, no, yes, no]),
        case(10, 3, [9, 1, 9], [2, 0, 1], [no, no, no]),
        case(3, 4, [0, 2], [3, 1], [yes, yes]),
        case(3, 4, [2], [1], [no]),
    ]

    def chosen(f: Tensor, new: Tensor, old: Tensor) -> Tensor:
        return torch.where(f[:, None, None, None], new, old)

    def first_noises(buffer: Tensor, y: Tensor, i: Tensor, f: Tensor, noise: Tensor) -> Tensor:
        x = buffer[y, i]
        x[f] = noise[: int(f.sum())]
        return x

    def right(buffer: Tensor, labels: Tensor, index: Tensor, fresh: Tensor, noise: Tensor) -> Tensor:
        return chosen(fresh, noise, buffer[labels, index])

    apart = "a dimension too many: buffer[labels] alone has whole classes for rows, and a second pair of brackets picks among the rows or pairs each with every index. Give labels and index in one pair."
    two_steps = [
        Slip("two steps", apart, lambda b, y, i, f, z: b[y][i]),
        Slip("two steps", apart, lambda b, y, i, f, z: b[y][:, i]),
        Slip("two steps", apart, lambda b, y, i, f, z: chosen(f, z, b[y][i])),
        Slip(
            "two steps", apart, lambda b, y, i, f, z: torch.where(f[:, None, None, None, None], z[:, None], b[y][:, i])
        ),
        Slip("two steps", apart, lambda b, y, i, f, z: torch.where(f[:, None, None, None], z, b[y][:, i])),
    ]
    indexing = [
        Slip("labels ignored", "the labels are ignored: an old start must come from its own label's part of the buffer.", lambda b, y, i, f, z: chosen(f, z, b[0, i])),
        Slip("labels ignored", "row b takes class b: use labels[b].", lambda b, y, i, f, z: chosen(f, z, b[torch.arange(len(y)), i])),
        Slip("labels ignored", "all rows take the class of the first: use labels[b].", lambda b, y, i, f, z: chosen(f, z, b[y[0], i])),
        Slip("index ignored", "each class hands out its first sample: use index[b].", lambda b, y, i, f, z: chosen(f, z, b[y, 0])),
        Slip("index ignored", "row b takes place b: use index[b].", lambda b, y, i, f, z: chosen(f, z, b[y, torch.arange(len(y))])),
        Slip("swapped", "the buffer's first dimension is the class, its second the place: labels come first.", lambda b, y, i, f, z: chosen(f, z, b[i, y])),
    ]  # fmt: skip
    together = "one fresh start makes the whole batch fresh (or one old one makes all old): decide row by row."
    choosing = [
        Slip("fresh turned round", "fresh is turned round: where it is true, the noise is wanted.", lambda b, y, i, f, z: chosen(~f, z, b[y, i])),
        Slip("one decision", together, lambda b, y, i, f, z: z if f.any() else b[y, i]),
        Slip("one decision", together, lambda b, y, i, f, z: z if f.all() else b[y, i]),
        Slip("never fresh", "fresh is ignored: where it is true, the noise is wanted.", lambda b, y, i, f, z: b[y, i]),
        Slip("always fresh", "every start is noise; only those where fresh is true should be.", lambda b, y, i, f, z: z),
        Slip("noise of another row", "row b takes noise[b], its own; you hand out the first rows of noise in turn.", first_noises),
        Slip("added", "the noise replaces the old sample; it is not added to it.", lambda b, y, i, f, z: b[y, i] + f[:, None, None, None] * z),
    ]  # fmt: skip
    return compare(name, student, right, [square, *cases], [*two_steps, *indexing, *choosing], copied=("buffer",))


@check
def predict(student: Callable) -> Result:
    """Check ``predict(class_energies (B, K)) -> (B,)``: the label of lowest energy."""
    numbers = stream(2)
    table = torch.randn((7, 4), generator=numbers) + 0.25
    cases = [
        (table,),
        (torch.randn((3, 10), generator=numbers),),
        (torch.randn((1, 5), generator=numbers),),
        far(torch.randn((6, 6), generator=numbers) * 500),
    ]
    slips = [
        Slip("argmax", "low energy means likely: take the smallest, not the largest.", lambda e: e.argmax(1)),
        Slip("values", "those are the lowest energies themselves; return where they are, the labels.", lambda e: e.amin(1)),
        Slip("values", "those are the highest energies; return where the lowest are, the labels.", lambda e: e.amax(1)),
        Slip("wrong dimension", "you took the minimum over the images; take it over the classes, dimension 1.", lambda e: e.argmin(0)),
        Slip("wrong dimension", "you took the maximum over the images; a minimum over the classes is wanted.", lambda e: e.argmax(0)),
        Slip("wrong dimension", "you took the minimum over the images (and its value, not its place).", lambda e: e.amin(0)),
        Slip("no dimension", "without a dimension argmin flattens the table and gives one number; one label an image is wanted.", lambda e: e.argmin()),
        Slip("trailing dimension", "the labels are right, but in shape (B, 1): leave keepdim out.", lambda e: e.argmin(1, keepdim=True)),
        Slip("probabilities", "those are the probabilities of all labels; return the most likely label.", lambda e: (-e).softmax(1)),
    ]  # fmt: skip
    if isinstance(called("predict", student, *fresh((table,)))[0], tuple):  # what torch.min(·, 1) returns
        return told("predict", False, "you return values and places together, as torch.min does; return the places.", "values and places")  # fmt: skip
    return compare("predict", student, lambda class_energies: class_energies.argmin(1), cases, slips)
