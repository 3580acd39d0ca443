import pytest
import torch

from gen_utils.models.quantizer import VectorQuantizer, ema_update, kmeans_centres, nearest_code


def test_nearest_code_is_brute_force():
    vectors, codebook = torch.randn(200, 5), torch.randn(17, 5) * torch.rand(17, 1) * 3
    assert torch.equal(nearest_code(vectors, codebook), torch.cdist(vectors, codebook).argmin(1))


def test_ema_against_a_computation_by_hand():
    """Two codes of one number; the vectors 1 and 3 choose code 0, nobody chooses code 1."""
    counts, sums = torch.ones(2), torch.tensor([[2.0], [10.0]])
    codebook, counts, sums = ema_update(
        counts, sums, torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]), decay=0.9, eps=0.0
    )
    assert counts.tolist() == pytest.approx([0.9 + 0.1 * 2, 0.9])
    assert sums.flatten().tolist() == pytest.approx([0.9 * 2 + 0.1 * 4, 0.9 * 10])
    assert codebook.flatten().tolist() == pytest.approx([2.2 / 1.1, 10.0])  # the unused code stays where it is


def test_smoothing_keeps_the_sum_of_the_counts():
    counts, sums, eps = torch.tensor([3.0, 0.0, 1.0]), torch.randn(3, 2), 0.5
    tokens = torch.tensor([0, 2, 2])
    codebook, new, new_sums = ema_update(counts, sums, torch.randn(3, 2), tokens, 0.99, eps)
    smooth = new_sums / codebook
    assert torch.allclose(smooth.mean(1).sum(), new.sum()) and torch.isfinite(codebook).all()


def test_averages_converge_to_the_means_of_their_vectors():
    vectors = torch.tensor([[0.0, 1.0], [2.0, 1.0], [9.0, -3.0]])
    tokens = torch.tensor([0, 0, 1])
    codebook = torch.randn(2, 2)
    counts, sums = torch.ones(2), codebook.clone()
    for _ in range(400):
        codebook, counts, sums = ema_update(counts, sums, vectors, tokens, decay=0.9)
    assert torch.allclose(codebook, torch.tensor([[1.0, 1.0], [9.0, -3.0]]), atol=1e-3)


def test_an_unused_code_stays_put_when_counts_start_at_one_and_flies_off_when_they_start_at_zero():
    vectors, tokens = torch.randn(64, 3), torch.zeros(64, dtype=torch.long)
    start = torch.randn(2, 3)
    kept, _, _ = ema_update(torch.ones(2), start.clone(), vectors, tokens)
    lost, _, _ = ema_update(torch.zeros(2), start.clone(), vectors, tokens)
    assert torch.allclose(kept[1], start[1], rtol=1e-3)
    assert lost[1].norm() > 1000 * start[1].norm()


def test_kmeans_centres_find_separate_groups():
    groups = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    vectors = (groups[:, None] + 0.1 * torch.randn(3, 50, 2)).flatten(0, 1)
    centres = kmeans_centres(vectors[torch.randperm(150)], 40)  # more centres than groups: some are split
    assert centres.shape == (40, 2)
    assert torch.cdist(centres, groups).min(1).values.max() < 0.6


def quantizer(**settings):
    return VectorQuantizer(4, 3, **{"init": "data", **settings})


def test_the_codebook_is_initialised_by_the_first_training_batch_alone():
    module, z = quantizer(), torch.randn(2, 3, 4, 4)
    module.eval()(z)
    assert not module.ready
    module.train()(z)
    assert module.ready and torch.equal(module.counts.sum() > 0, torch.tensor(True))


def test_a_batch_smaller_than_the_codebook_is_refused():
    with pytest.raises(ValueError, match=r"2 latent vectors .* 4 codes; use a larger batch_size or fewer codes"):
        quantizer()(torch.randn(2, 3, 1, 1))


def test_codes_are_used_before_they_move():
    module = quantizer(init="normal", decay=0.5)
    before, z = module.codebook.clone(), torch.randn(2, 3, 4, 4)
    code, tokens = module(z)
    assert torch.equal(code, before[tokens].movedim(-1, 1)) and not code.requires_grad
    assert not torch.equal(module.codebook, before)
    after = module.codebook.clone()
    module.eval()(z)
    assert torch.equal(module.codebook, after)  # evaluation moves nothing


def test_dead_codes_are_put_on_latents_of_the_batch():
    module = quantizer(init="normal", revive_below=0.5)
    module._set(torch.tensor([[0.0, 0, 0], [99.0, 99, 99], [-99.0, 99, 99], [50.0, -99, 0]]))
    module.counts[1:] = 0.1
    z = torch.randn(2, 3, 4, 4)
    module(z)
    rows = z.movedim(1, -1).flatten(0, 2)
    assert all((module.codebook[k] == rows).all(1).any() for k in (1, 2, 3))
    assert module.counts[1:].tolist() == [1.0, 1.0, 1.0]
    assert torch.equal(module.sums[1:], module.codebook[1:])


def test_without_revival_a_far_code_stays_dead():
    module = quantizer(init="normal", revive_below=0.0)
    module._set(torch.tensor([[0.0, 0, 0], [99.0, 99, 99], [1.0, 0, 0], [0.0, 1, 0]]))
    for _ in range(50):
        module(torch.randn(2, 3, 4, 4))
    assert module.codebook[1].norm() > 100


def test_half_precision_latents_leave_the_averages_in_full():
    module = quantizer(init="normal")
    code, _ = module(torch.randn(2, 3, 4, 4).bfloat16())
    assert code.dtype == module.sums.dtype == torch.float32


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match="known: kmeans, data, normal"):
        quantizer(init="zeros")


def nearest(vectors, codebook):
    """By double-precision differences, without the expanded square."""
    return (vectors.double()[:, None] - codebook.double()).square().sum(2).argmin(1)


@pytest.mark.parametrize(("offset", "spacing"), [(0.0, 1.0), (100.0, 0.1), (-1e4, 10.0)])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_nearest_code_is_found_far_from_the_origin_and_under_autocast(offset, spacing, autocast):
    vectors, codebook = (offset + spacing * torch.randn(n, 8) for n in (2000, 64))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert torch.equal(nearest_code(vectors, codebook), nearest(vectors, codebook))


def test_a_quantiser_in_mixed_precision_gives_the_nearest_code():
    quantizer = VectorQuantizer(32, 4, init="normal").eval()
    with torch.autocast("cpu", torch.bfloat16):
        z = torch.randn(20, 4, 5, 5).bfloat16()
        code, tokens = quantizer(z)
    assert torch.equal(tokens.flatten(), nearest(z.movedim(1, -1).reshape(-1, 4), quantizer.codebook))
    assert code.dtype == torch.float32


def test_centres_far_from_the_origin_are_those_near_it_moved():
    vectors = 0.1 * torch.randn(3000, 8)
    torch.manual_seed(0)
    near = kmeans_centres(vectors, 32)
    torch.manual_seed(0)
    far = kmeans_centres(vectors + 100, 32)
    assert torch.allclose(far - 100, near, atol=1e-4)
