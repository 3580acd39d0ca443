"""The explorer builds and redraws without a browser, and nothing of it is needed where there is none."""

import subprocess
import sys

import matplotlib.pyplot as plt
import pytest
import torch

from gen_utils.explorers import sampler as widgets
from gen_utils.samplers import HMC, MALA, ChainDiverged, Langevin, ProximalLangevin

PNG = b"\x89PNG"


def controls_and_picture(panel):
    boxes, picture = panel.children
    return {c.description: c for column in boxes.children for c in column.children}, picture


def test_the_explorer_draws_when_it_is_built_and_when_a_slider_moves():
    controls, picture = controls_and_picture(widgets.sampler_explorer())
    assert {"target", "kernel", "step size η", "noise ÷ √(2η)", "steps"} <= set(controls)
    drawn = [bytes(picture.value)]
    controls["steps"].value = 20
    drawn.append(bytes(picture.value))
    controls["step size η"].value = 0.01
    drawn.append(bytes(picture.value))
    controls["noise ÷ √(2η)"].value = 0.5
    drawn.append(bytes(picture.value))
    controls["kernel"].value = "MALA"
    drawn.append(bytes(picture.value))
    controls["target"].value = "ring"
    drawn.append(bytes(picture.value))
    assert all(value.startswith(PNG) for value in drawn)
    assert len(set(drawn)) == len(drawn)


def test_controls_that_a_kernel_does_not_use_are_greyed():
    controls, _ = controls_and_picture(widgets.sampler_explorer())
    controls["steps"].value = 10
    greyed = {}
    for kernel in widgets.KERNELS:
        controls["kernel"].value = kernel
        greyed[kernel] = (controls["noise ÷ √(2η)"].disabled, controls["leapfrog steps"].disabled)
    assert greyed == {
        "Langevin": (False, True),
        "MALA": (True, True),
        "HMC": (True, False),
        "ProximalLangevin": (False, True),
    }


def test_a_diverging_setting_is_a_picture_that_says_so():
    controls, picture = controls_and_picture(widgets.sampler_explorer())
    controls["target"].value = "banana"
    before = bytes(picture.value)
    controls["step size η"].value = 1.0
    assert bytes(picture.value).startswith(PNG) and bytes(picture.value) != before
    fig = widgets.explorer_figure("banana", "Langevin", 1.0, 1.0, 100)
    assert "diverged" in fig.axes[0].get_title()
    assert "after step" in fig.axes[1].texts[0].get_text()


def test_explorer_figures_stay_out_of_pyplot():
    open_before = plt.get_fignums()
    widgets.explorer_figure("ring", "HMC", 0.05, 1.0, 20)
    assert plt.get_fignums() == open_before


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Langevin", Langevin), ("MALA", MALA), ("HMC", HMC), ("ProximalLangevin", ProximalLangevin)],
)
def test_kernels_by_name_share_one_scale(name, kind):
    kernel = widgets.make_kernel(name, 0.08)
    assert isinstance(kernel, kind)
    assert kernel.step_size == pytest.approx(0.4 if name == "HMC" else 0.08)
    if name in ("Langevin", "ProximalLangevin"):
        assert kernel.noise == pytest.approx(0.4)


def test_an_unknown_kernel_is_told():
    with pytest.raises(ValueError, match="unknown kernel 'Gibbs'; known: Langevin"):
        widgets.make_kernel("Gibbs", 0.1)


def test_run_chains_keeps_the_start_and_repeats_itself():
    target = widgets.TARGETS["ring"]()
    kernel = widgets.make_kernel("MALA", 0.05)
    path, chain = widgets.run_chains(target, kernel, 7, n_chains=5, start=(2.0, 0.0), seed=3)
    again, _ = widgets.run_chains(target, kernel, 7, n_chains=5, start=(2.0, 0.0), seed=3)
    assert path.shape == (8, 5, 2) and torch.equal(path[0], torch.tensor([[2.0, 0.0]]).expand(5, 2))
    assert torch.equal(path[-1], chain.x) and torch.equal(path, again)
    path, stopped = widgets.run_chains(target, Langevin(50.0), 2000, n_chains=5)
    assert path.shape == (1, 5, 2) and (isinstance(stopped, ChainDiverged) or len(path) == 2001)


def test_importing_needs_no_ipywidgets():
    code = (
        "import sys; sys.modules['ipywidgets'] = None; import gen_utils.explorers.sampler as w; "
        "w.explorer_figure('ring', 'MALA', 0.05, 1.0, 10)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
