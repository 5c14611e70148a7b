"""ConvLSTM: the paper's counts, the tables' sizes, a forecast written out, bad configs."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from conv_by_hand import random_frames

from xearthformer.models.baselines.convlstm import PRESETS, ConvLSTM, ConvLSTMConfig
from xearthformer.models.layers.recurrent import from_patches, to_patches

TINY = PRESETS["tiny"]


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [((256,), 13_524_496), ((128, 128), 10_042_896), ((128, 64, 64), 7_585_296)],
)
def test_parameters_of_the_papers_table_1(hidden, expected):
    # Digits, 64 x 64 pixels in patches of 4 x 4, kernels of 5 x 5.
    with torch.device("meta"):
        model = ConvLSTM(ConvLSTMConfig(10, 10, 64, 64, 1, (4, 4), hidden, 5))
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.fixture
def tiny() -> ConvLSTM:
    torch.manual_seed(0)
    model = ConvLSTM(TINY).double()
    with torch.no_grad():
        for cell in (*model.encoding, *model.forecasting):
            cell.peepholes.normal_(std=0.1)
    return model


def test_the_forecast_written_out(tiny):
    x_BTHWC = random_frames(2, 4, 16, 16, 1)
    low, high = None, None
    for x_BCHW in to_patches(x_BTHWC, TINY.patch).unbind(1):
        low = tiny.encoding[0](x_BCHW, low)
        high = tiny.encoding[1](low[0], high)
    frames = []
    for _ in range(3):
        low = tiny.forecasting[0](None, low)
        high = tiny.forecasting[1](low[0], high)
        frames.append(tiny.readout(torch.cat([low[0], high[0]], dim=1)))
    expected = from_patches(torch.stack(frames, dim=1), TINY.patch)
    assert torch.equal(tiny.predict(x_BTHWC), expected)


def test_a_longer_forecast_begins_with_the_shorter(tiny):
    longer = ConvLSTM(replace(TINY, out_len=7)).double()
    longer.load_state_dict(tiny.state_dict())
    x_BTHWC = random_frames(1, 4, 16, 16, 1)
    y_BTHWC = longer.predict(x_BTHWC)
    assert y_BTHWC.shape == (1, 7, 16, 16, 1)
    assert torch.equal(y_BTHWC[:, :3], tiny.predict(x_BTHWC))


def test_loss_is_the_mean_squared_error(tiny):
    x_BTHWC = random_frames(2, 4, 16, 16, 1)
    y_BTHWC = tiny.predict(x_BTHWC).detach()
    torch.testing.assert_close(tiny.loss(x_BTHWC, y_BTHWC + 2), torch.tensor(4.0).double())


def test_more_channels():
    model = ConvLSTM(replace(TINY, channels=3))
    assert model.predict(torch.rand(1, 4, 16, 16, 3)).shape == (1, 3, 16, 16, 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_config_round_trips_through_json(preset):
    again = json.loads(json.dumps(asdict(PRESETS[preset])))
    assert ConvLSTMConfig(**again) == PRESETS[preset]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel": 4}, "expected kernel to be odd, found 4"),
        ({"patch": 4}, "expected patch to be 2 whole numbers"),
        ({"patch": (3, 2)}, r"divides frames of \(16, 16\), found \(3, 2\)"),
        ({"hidden": ()}, "expected hidden to be"),
        ({"hidden": (8, 0)}, "expected hidden to be"),
        ({"out_len": 0}, "expected out_len to be"),
        ({"channels": 0}, "expected channels to be"),
    ],
)
def test_bad_configs(change, words):
    with pytest.raises(ValueError, match=words):
        replace(TINY, **change)


def test_another_shape_than_configured(tiny):
    with pytest.raises(ValueError, match=r"found \(1, 5, 16, 16, 1\)"):
        tiny.predict(torch.zeros(1, 5, 16, 16, 1))
