import pytest
import torch

from gen_utils.explorers.latent import explorer_figure, latent_explorer, move_code
from gen_utils.models import MLPVAE


@pytest.fixture
def model():
    return MLPVAE((1, 8, 8), latent=4, hidden=(16,)).eval()


@pytest.fixture
def images():
    return torch.rand(3, 1, 8, 8) * 2 - 1


def test_moving_sets_the_named_dimensions_and_no_other(model, images):
    with torch.no_grad():
        z = model.posterior(images[:1]).mean
        z[0, 1], z[0, 3] = 2.0, -1.0
        expected = model.likelihood(z).mean[0].clamp(-1, 1)
    assert torch.equal(move_code(model, images[0], [1, 3], [2.0, -1.0]), expected)
    with pytest.raises(ValueError, match="one value for each dimension"):
        move_code(model, images[0], [1, 3], [2.0])


def test_figure_and_sliders(model, images):
    fig = explorer_figure(model, images[0], [0], [1.0], title="noise")
    assert [ax.get_title() for ax in fig.axes] == ["image", "reconstruction", "moved"]
    box = latent_explorer(model, images, [2, 0])
    which, first, second, picture = box.children
    assert (which.max, first.description, second.description) == (2, "z[2]", "z[0]")
    with torch.no_grad():
        assert first.value == pytest.approx(model.posterior(images[:1]).mean[0, 2].item(), abs=0.051)
    before = picture.value
    first.value = 2.5
    assert picture.value[:4] == b"\x89PNG" and picture.value != before
    which.value = 1  # another image: its own code
    with torch.no_grad():
        assert second.value == pytest.approx(model.posterior(images[1:2]).mean[0, 0].item(), abs=0.051)
