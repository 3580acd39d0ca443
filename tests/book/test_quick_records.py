"""The quick profile: the book as ``make book`` builds it on built-in data. Minutes, so ``make test-quick`` runs it."""

import json

import pytest

from gen_utils import report
from gen_utils.publishing.parts import parts

pytestmark = pytest.mark.quick_book


def recorded(built_quick, part):
    out, _ = built_quick
    return report.records(json.loads((out / "quick" / "notebooks" / f"{part}.ipynb").read_text(encoding="utf-8")))


def test_every_exercise_check_passed(built_quick):
    for part in parts():
        checks = {n: v for n, v in recorded(built_quick, part).items() if n.startswith("check/")}
        assert checks and all(v["passed"] for v in checks.values()), checks


def test_part_b_recorded_what_it_claims(built_quick):
    ebm = recorded(built_quick, "02_ebm_mnist")
    assert "standing in for MNIST" in ebm["data"]
    assert ebm["identity_gap"] < 1e-5
    # Learning has begun: samples are far nearer to digits than noise is, and nearer than the short run's.
    assert ebm["frechet_real"] < ebm["frechet_fresh"] < ebm["frechet_noise"] / 5
    assert ebm["frechet_fresh"] < ebm["frechet_short"]
    assert ebm["auroc"]["uniform noise"] > 0.95
    assert "ablation" not in ebm  # shown from the long run


def test_part_a_recorded_what_it_claims(built_quick):
    found = recorded(built_quick, "03_ebm_bitmoji")
    assert "standing in for Bitmoji" in found["data"]
    # A pinned network cannot learn: its loss and its gradient are rounding errors. As written it can.
    assert found["pinned_largest_loss"] < 1e-4 and found["pinned_gap"] < 1e-4 and found["pinned_gradient"] < 1e-3
    assert found["written_late"]["1"] < -0.1
    assert found["decay_reach_1000"] < 0.1  # far from the 0.58 of the noise it starts from
    assert found["frechet_real"] < found["frechet_fresh"] < found["frechet_noise"]
    assert not {"repairs", "crossings", "ingredients", "signs"} & found.keys()  # shown from the long run


def test_part_c_recorded_what_it_claims(built_quick):
    found = recorded(built_quick, "04_ebm_cifar_conditional")
    assert "standing in for CIFAR-10" in found["photos"] and "standing in for MNIST" in found["digits"]
    assert not {"epsilon_study", "start_study", "weight_study"} & found.keys()  # shown from the long run
    # A short training: the energy classifies, and many samples are what was asked for.
    assert found["digit_accuracy"] > 0.7 and found["digit_agreement"] > 0.25
    assert found["photo_frechet_real"] < found["photo_frechet_fresh"]


def test_part_e_recorded_what_it_claims(built_quick):
    found = recorded(built_quick, "06_dvae_clustering")
    assert all("standing in for" in title for title in found["data"])
    # Everything is done for both datasets.
    for key in ("vq", "gumbel", "best_k", "nats", "beats_pixels"):
        assert set(found[key]) == set(found["data"])
    assert found["classified"] and found["consistency"] and found["generation"]
    assert not {"ablation", "gumbel_norm"} & found.keys()  # shown from the long run


def test_part_f_recorded_what_it_claims(built_quick):
    found = recorded(built_quick, "07_gan_wgan")
    assert "standing in for Hoda" in found["data"]
    n_train, n_val, n_test = found["split"]
    assert n_train == 17 * n_test and n_val == 2 * n_test  # 85, 10 and 5 %
    assert not {"study", "order", "ring", "estimate_rank_correlation", "told"} & found.keys()  # shown from the long run
    # Clipping by the paper's bound leaves no gradient in a deep critic; the penalty does.
    assert found["layer_slopes"]["clip 0.01"][0] < 1e-3 < found["layer_slopes"]["penalty"][0]
    assert found["floor"]["missing"] == 0 and found["headline"]["frechet"] > found["floor"]["frechet"]


def test_part_d_recorded_what_it_claims(built_quick):
    found = recorded(built_quick, "05_jem")
    assert found["inner_gap"] < 1e-5  # the inner loop is one larger step
    assert found["norm_gap_eval"] < 1e-4 < found["norm_gap_train"]
    assert not {"study", "provoked"} & found.keys()  # shown from the long run
    assert found["classifier_accuracy"] > 0.9


def test_part_g_recorded_what_it_claims(built_quick):
    found = recorded(built_quick, "09_vae_likelihood")
    assert "standing in for CelebA" in found["faces"]
    assert abs(found["floor_unit_gaussian"] - 9.33) < 0.01
    assert found["drawer"]["draws of the prior"] > 0 and len(found["digit_estimates"]) == 7
    assert all(row["ELBO"] < row["your bound, K = 500"] for row in found["on_the_grid"])
    # Shown from the long run.
    assert (
        not {"face_study", "draw_quality", "claim_contestants", "likelihoods", "main_estimates", "sprite_study"}
        & found.keys()
    )


def test_part_i_recorded_what_it_claims(built_quick):
    found = recorded(built_quick, "10_vaebm")
    assert "standing in for MNIST" in found["data"]["digits"] and "standing in for CelebA" in found["data"]["faces"]
    # The determinant matters where the decoder's scale depends on z, and the exact energy is exact.
    assert found["toy/exact: E + ½‖ε‖²"] < 5 < found["toy/without the determinant"]
    # Even a short training mends the VAE's draws.
    assert found["gain/digits"] > 20
    assert len(found["spaces"]) == 20 and len(found["quality"]) == 2 and found["mixture_gap"] < 1e-3
    # Shown from the long run.
    assert not {"mixing", "priors/digits", "study", "provoked", "modes", "disentangled"} & found.keys()


def test_part_h_recorded_what_it_claims(built_quick):
    found = recorded(built_quick, "08_dcgan_bitmoji")
    assert "standing in for Bitmoji" in found["data"]
    assert found["resume_gap"] == 0 < found["lost_gap"]  # bit for bit; and what the lost optimiser costs
    assert found["damage_in_order"]["face_features"] >= 7  # of 8
    # A short training: nearer to faces than the untrained generator; real faces are nearer than anything.
    assert found["frechet/other real faces"] < found["frechet_fresh"] < found["frechet/the generator, untrained"]
    assert len(found["damage"]) == 2 and len(found["by_epochs"]) >= 2
    assert "variations" not in found  # shown from the long run


def test_part_j_recorded_what_it_claims(built_quick):
    found = recorded(built_quick, "11_after_langevin")
    assert "standing in for MNIST" in found["data"]
    assert found["tweedie_gap"] < 4 * found["tweedie_error"]
    # Weights exchanged: the data's own Fisher divergence sees nothing, KL does, and a level at which the modes touch.
    blind = found["blind"]
    assert blind["0.0"]["Fisher"] < 1e-4 < 0.05 < blind["2.0"]["Fisher"] and blind["0.0"]["KL"] > 0.5
    # Down from the largest level the walks share out as the modes weigh; from a small one they do not.
    off = {name: abs(shares[0] - 0.6) for name, shares in found["walked"].items()}
    assert off["exact denoiser, from σ = 40"] < 0.05 < off["exact denoiser, from σ = 0.5"]
    assert found["likelihood_gaps"]["Gaussian"] < 0.01
    # Learning has begun: samples are far nearer to digits than noise is.
    assert max(found["frechet_score"], found["frechet_energy"]) < found["quality"]["uniform noise"] / 3
    assert not {"five", "fisher_by_points", "waits", "bits", "agreement"} & found.keys()  # shown from the long run
