"""The sampling explorer: sliders in a live notebook, and the same pictures for pages that cannot have any.

``ipywidgets`` is imported only when an explorer is built, so everything else here works without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..models import Banana, DoubleWell, Gaussian, Ring, eight_gaussians
from ..plotting.landscapes import density_on, draw_density, draw_states
from ..samplers import HMC, MALA, Chain, ChainDiverged, Langevin, ProximalLangevin, sample
from .shared import LivePicture

TARGETS: dict[str, Callable] = {
    "Gaussian": Gaussian,
    "banana": Banana,
    "ring": Ring,
    "eight Gaussians": eight_gaussians,
    "double well": DoubleWell,
}
KERNELS = ("Langevin", "MALA", "HMC", "ProximalLangevin")


def make_kernel(name: str, step_size: float, *, noise: float = 1.0, n_leapfrog: int = 10, max_step: float = 0.1):
    """A kernel by name, all on one scale: ``step_size`` is η, and HMC's leapfrog step is ε = √(2η).

    Args:
        noise: the scale of the noise as a multiple of √(2η), so that T = noise². For the two kernels without an
            acceptance test; MALA and HMC sample at temperature 1 and know no other.
        n_leapfrog: for HMC.
        max_step: for ProximalLangevin.

    Raises:
        ValueError: an unknown name.
    """
    sigma = noise * math.sqrt(2 * step_size)
    if name == "Langevin":
        return Langevin(step_size, sigma)
    if name == "MALA":
        return MALA(step_size)
    if name == "HMC":
        return HMC(math.sqrt(2 * step_size), n_leapfrog, jitter=0.5)
    if name == "ProximalLangevin":
        return ProximalLangevin(step_size, max_step, sigma)
    raise ValueError(f"unknown kernel {name!r}; known: {', '.join(KERNELS)}")


def run_chains(
    target, kernel, n_steps: int, *, n_chains: int = 500, start: tuple[float, float] | None = None, seed: int = 0
) -> tuple[Tensor, Chain | ChainDiverged]:
    """Chains on a 2-D energy: the path (K, B, 2) with its start, and the chain, or what stopped it.

    Args:
        start: where all chains begin; spread evenly over the target's extent when None.
    """
    stream = torch.Generator().manual_seed(seed)
    x_low, x_high, y_low, y_high = target.extent
    if start is None:
        low, high = torch.tensor([x_low, y_low]), torch.tensor([x_high, y_high])
        x0 = low + (high - low) * torch.rand((n_chains, 2), generator=stream)
    else:
        x0 = torch.tensor(start).expand(n_chains, 2).clone()
    try:
        chain = sample(target, x0, kernel, n_steps, keep_every=1, generator=stream)
    except ChainDiverged as error:
        return x0[None], error
    return torch.cat((x0[None], chain.path)), chain


def explorer_figure(
    target: str, kernel: str, step_size: float, noise: float, n_steps: int, *, n_leapfrog: int = 10, seed: int = 0
) -> Figure:
    """What the explorer shows: the last states of 500 chains, one chain's way, and the first coordinate's histogram.

    Args:
        target: a key of ``TARGETS``; kernel: one of ``KERNELS``.
        step_size, noise: as in ``make_kernel``.
        n_steps: steps; one of HMC costs ``n_leapfrog`` gradient calls, of the others one.
    """
    energy = TARGETS[target]()
    path, chain = run_chains(
        energy, make_kernel(kernel, step_size, noise=noise, n_leapfrog=n_leapfrog), n_steps, seed=seed
    )
    fig = Figure(figsize=(10, 3.4), layout="constrained")
    axes = fig.subplots(1, 3)
    if isinstance(chain, ChainDiverged):
        for ax in axes[1:]:
            ax.axis("off")
        axes[0].set_title(f"{kernel} on {target}: diverged")
        draw_density(energy, axes[0])
        axes[1].text(0, 0.5, str(chain).split(";")[0].replace(" after ", "\nafter "), fontsize=8, wrap=True)
        return fig
    draw_states(energy, path[-1], axes[0])
    axes[0].set_title(f"{len(path[0])} chains after {n_steps} steps")
    draw_density(energy, axes[1], lines=True)
    axes[1].plot(*path[:, 0].T, lw=0.7, color="#0072B2")
    axes[1].plot(*path[0, 0], "o", color="#0072B2", ms=4)
    axes[1].set_title("one chain's way")
    x, y, density = density_on(energy, n=200)
    marginal = torch.trapezoid(density, y, dim=0)
    second_half = path[len(path) // 2 :, :, 0].flatten().clamp(x[0], x[-1])
    axes[2].hist(second_half.numpy(), 60, density=True, color="#D55E00", alpha=0.5, label="chains, second half")
    axes[2].plot(x, marginal, color="black", lw=1, label="exact")
    axes[2].set(title=f"first coordinate; accepted {chain.accept_rate:.0%}", yticks=[])
    axes[2].legend(fontsize=8)
    return fig


def sampler_explorer():
    """Sliders over target, kernel, step size, noise and number of steps; every change runs the chains anew.

    Returns:
        an ``ipywidgets.VBox``; show it as the last line of a cell. It draws once when it is built, and needs a live
        kernel afterwards: see ``can_show_widgets``.
    """
    import ipywidgets as widgets

    wide = {"description_width": "110px"}
    layout = widgets.Layout(width="420px")

    def control(kind, **settings):
        return kind(style=wide, layout=layout, **settings)

    controls = {
        "target": control(widgets.Dropdown, options=list(TARGETS), description="target"),
        "kernel": control(widgets.Dropdown, options=KERNELS, description="kernel"),
        "step_size": control(
            widgets.FloatLogSlider,
            value=0.05, min=-4, max=0.5, step=0.1, description="step size η", continuous_update=False,
        ),
        "noise": control(
            widgets.FloatSlider,
            value=1.0, min=0.0, max=2.0, step=0.05, description="noise ÷ √(2η)", continuous_update=False,
        ),
        "n_steps": control(
            widgets.IntSlider, value=200, min=10, max=1000, step=10, description="steps", continuous_update=False
        ),
        "n_leapfrog": control(
            widgets.IntSlider, value=10, min=1, max=40, description="leapfrog steps", continuous_update=False
        ),
        "seed": control(widgets.IntSlider, value=0, min=0, max=20, description="seed", continuous_update=False),
    }  # fmt: skip

    def draw() -> Figure:
        uses_noise = controls["kernel"].value in ("Langevin", "ProximalLangevin")
        controls["noise"].disabled = not uses_noise
        controls["n_leapfrog"].disabled = controls["kernel"].value != "HMC"
        return explorer_figure(**{name: widget.value for name, widget in controls.items()})

    picture = LivePicture(draw, 1000)
    for widget in controls.values():
        widget.observe(picture.redraw, names="value")
    picture.redraw()
    return widgets.VBox([widgets.HBox(
        [widgets.VBox(list(controls.values())[:4]), widgets.VBox(list(controls.values())[4:])],
        layout=widgets.Layout(flex_flow="row wrap"),
    ), picture.widget])  # fmt: skip
