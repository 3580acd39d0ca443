import math

import pytest
import torch

from gen_utils.data import ImageSet, load_images
from gen_utils.models import FaceFeatures
from gen_utils.shipped.face_features import LEARNT, FaceFeatureTraining, damage, nt_xent
from gen_utils.training import FitConfig, fit


def test_contrastive_loss_by_hand():
    """Two images, orthogonal; each copy equals its image: one right answer at cosine 1 among two others at 0."""
    z = torch.eye(2)
    loss, found = nt_xent(z, z.clone(), 0.5)
    assert loss.item() == pytest.approx(-2 + math.log(math.exp(2) + 2), rel=1e-5) and found == 1
    swapped, found = nt_xent(z, z.flip(0), 0.5)
    assert swapped > loss and found == 0


def test_damage_grades_one_way_an_image():
    torch.manual_seed(0)
    x = torch.rand(32, 3, 64, 64) * 2 - 1
    out, grades = damage(x)
    assert out.shape == x.shape and grades.shape == (32, len(LEARNT))
    assert ((grades > 0).sum(1) <= 1).all() and grades.max() <= 1


def test_it_learns_to_recognise_and_to_grade(tmp_path):
    faces = load_images("avatars", limit=64)
    torch.manual_seed(0)
    module = FaceFeatureTraining(FaceFeatures(width=8), lr=3e-3)
    config = FitConfig(40, batch_size=32, run_dir=tmp_path, log_every=1)
    run = fit(module, ImageSet(faces.images, None, (), "faces", "faces"), config=config)
    first, last = (sum(run.curve("loss")[1][s]) / 5 for s in (slice(0, 5), slice(-5, None)))
    assert last < 0.8 * first
    out = run.module.network.features(torch.zeros(2, 3, 64, 64))
    assert out.shape == (2, 64) and "projection" not in dict(run.module.network.named_children())
