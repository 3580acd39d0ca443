import matplotlib

matplotlib.use("Agg")

import torch
from torch import nn

from gen_utils.plotting import plt
from gen_utils.plotting.networks import draw_network, layer_rows, trace_layers


def small():
    return nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, (2, 2, 2)), nn.ConvTranspose2d(2, 1, 4, 2, 1), nn.Tanh())


def test_the_layers_come_in_order_with_their_shapes_and_weights():
    layers = trace_layers(small(), torch.zeros(1, 3))
    assert [layer.kind for layer in layers] == ["dense", "unflatten", "transposed conv", "tanh"]
    assert [layer.shape for layer in layers] == [(8,), (2, 2, 2), (1, 4, 4), (1, 4, 4)]
    assert layers[0].parameters == 3 * 8 + 8 and layers[2].parameters == 2 * 16 + 1
    assert layer_rows(layers)[2] == {"layer": "transposed conv 4×4, stride 2", "gives": "1×4×4", "weights": "33"}


def test_looking_changes_nothing():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = net[1].running_mean.clone()
    trace_layers(net, torch.randn(4, 1, 8, 8))
    assert net.training and net[1].training and torch.equal(net[1].running_mean, before)
    assert not net[0]._forward_hooks


def test_a_drawing_has_one_box_a_weighted_layer_and_the_input():
    draw_network(trace_layers(small(), torch.zeros(1, 3)), "G", source=(3,))
    ax = plt.gca()
    assert len(ax.patches) == 3 and ax.get_title() == "G"
    assert "1×4×4" in [text.get_text() for text in ax.texts]
    plt.close("all")
