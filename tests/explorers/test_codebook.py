import pytest
import torch

from gen_utils.explorers.codebook import code_pictures, codebook_explorer, explorer_figure, swap_token
from gen_utils.models import VQVAE


@pytest.fixture
def model():
    return VQVAE(n_codes=12, code_dim=4, width=8, n_blocks=1).eval()


def test_a_swap_changes_one_token_and_decodes(model):
    tokens = torch.randint(12, (7, 7))
    kept = tokens.clone()
    found = swap_token(model, tokens, 2, 5, [3, int(tokens[2, 5])])
    by_hand = tokens.clone()
    by_hand[2, 5] = 3
    with torch.no_grad():
        expected = model.decode_tokens(torch.stack((by_hand, tokens))).clamp(-1, 1)
    assert torch.equal(found, expected) and torch.equal(tokens, kept)


@pytest.mark.parametrize("place", [(-1, 0), (0, 7)])
def test_a_place_outside_the_grid_is_refused(model, place):
    with pytest.raises(IndexError, match="outside the grid of 7×7"):
        swap_token(model, torch.zeros(7, 7, dtype=torch.long), *place, [0])
    with pytest.raises(IndexError):
        swap_token(model, torch.zeros(7, 7, dtype=torch.long), 0, 0, [12])


def test_code_pictures_fill_the_grid(model):
    with torch.no_grad():
        expected = model.decode_tokens(torch.full((1, 7, 7), 4)).clamp(-1, 1)
    assert torch.equal(code_pictures(model, [4], (7, 7)), expected)


def test_figure_and_sliders(model):
    images = torch.rand(3, 1, 28, 28) * 2 - 1
    fig = explorer_figure(model, images[0], 1, 2, 7, title="noise")
    assert len(fig.axes) == 4 and fig.get_suptitle() == "noise" and fig.axes[2].get_title() == "token → 7"
    box = codebook_explorer(model, images)
    *sliders, picture = box.children
    assert [s.description for s in sliders] == ["image", "row", "column", "code"]
    assert [s.max for s in sliders] == [2, 6, 6, 11]
    before = picture.value
    sliders[3].value = 9
    assert picture.value[:4] == b"\x89PNG" and picture.value != before
