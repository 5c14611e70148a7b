"""What recurrent networks share: the ConvLSTM's equations, patches, whose frame goes in next."""

import numpy as np
import pytest
import torch
from conv_by_hand import convolve, random_frames, sigmoid

from xearthformer.models.baselines.convlstm import PRESETS
from xearthformer.models.layers.recurrent import (
    ConvLSTMCell,
    ScheduledSampling,
    expect_patch,
    from_patches,
    to_patches,
    unroll,
)

# --- the cell ---


@pytest.mark.parametrize("peephole", [False, True])
def test_a_step_of_the_cell_is_equation_3(peephole):
    torch.manual_seed(0)
    cell = ConvLSTMCell(2, 3, kernel=3, peephole=peephole).double()
    w_ci = w_cf = w_co = np.zeros((3, 1, 1))
    if peephole:
        with torch.no_grad():
            cell.peepholes.normal_()
        w_ci, w_cf, w_co = cell.peepholes.detach().numpy()
    x, h, c = (random_frames(1, n, 4, 5, seed=n + i) for i, n in enumerate((2, 3, 3)))
    seen = np.concatenate([x[0].numpy(), h[0].numpy()])
    c_old = c[0].numpy()

    i = sigmoid(convolve(seen, cell.gates, slice(0, 3)) + w_ci * c_old)
    f = sigmoid(convolve(seen, cell.gates, slice(3, 6)) + w_cf * c_old)
    c_new = f * c_old + i * np.tanh(convolve(seen, cell.gates, slice(6, 9)))
    o = sigmoid(convolve(seen, cell.gates, slice(9, 12)) + w_co * c_new)

    found_h, found_c = cell(x, (h, c))
    np.testing.assert_allclose(found_c[0].detach(), c_new)
    np.testing.assert_allclose(found_h[0].detach(), o * np.tanh(c_new))


def test_the_cell_starts_from_zeros():
    torch.manual_seed(0)
    cell = ConvLSTMCell(2, 3, kernel=3)
    x, zero = torch.rand(2, 2, 4, 5), torch.zeros(2, 3, 4, 5)
    for found, expected in zip(cell(x), cell(x, (zero, zero)), strict=True):
        assert torch.equal(found, expected)


def test_a_cell_without_input_reads_its_own_state_alone():
    cell = ConvLSTMCell(0, 3, kernel=5)
    assert cell.gates.weight.shape == (12, 3, 5, 5)
    h, c = cell(None, (torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)))
    assert h.shape == c.shape == (2, 3, 4, 5)


@pytest.mark.parametrize("kernel", [2, 4, 0, -1])
def test_a_kernel_without_a_middle(kernel):
    with pytest.raises(ValueError, match="expected kernel to be"):
        ConvLSTMCell(1, 2, kernel)


# --- patches ---


def test_patches_hold_neighbouring_pixels():
    x_BTHWC = torch.arange(24).reshape(1, 1, 4, 6, 1)
    # Row r, column c is 6 r + c: the patch of rows 2, 3 and columns 3, 4, 5 is the last.
    assert to_patches(x_BTHWC, (2, 3))[0, 0, :, 1, 1].tolist() == [15, 16, 17, 21, 22, 23]


def test_patches_come_back():
    x_BTHWC = torch.rand(2, 3, 4, 6, 2)
    assert torch.equal(from_patches(to_patches(x_BTHWC, (2, 3)), (2, 3)), x_BTHWC)


@pytest.mark.parametrize("patch", [(3, 2), (2, 5), (0, 2), (2,)])
def test_a_patch_that_does_not_fit(patch):
    with pytest.raises(ValueError, match="expected .*patch"):
        expect_patch(patch, (4, 6))


def test_frames_of_another_shape():
    with pytest.raises(
        ValueError, match=r"\(batch, \*\(4, 16, 16, 1\)\), found \(1, 4, 16, 8, 1\)"
    ):
        PRESETS["tiny"].expect_frames(torch.zeros(1, 4, 16, 8, 1))


# --- scheduled sampling ---


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(1.0, 0, [1.0, 0.75, 0.5, 0.25, 0, 0]), (0.5, 1, [0.5, 0.625, 0.75, 0.875, 1, 1])],
)
def test_the_share_of_truth_goes_linearly_to_its_end(start, end, expected):
    torch.manual_seed(0)
    sampling = ScheduledSampling(4, start, end)
    for share in expected:
        assert float(sampling.share()) == share
        mask_BT = sampling(batch=100, frames=100, device="cpu")
        # The standard deviation of a mean of 10 000 coins is at most 0.005.
        assert float(mask_BT.float().mean()) == pytest.approx(share, abs=0.02)
    assert sampling.step == len(expected)


def test_coins_are_tossed_for_each_sample_and_step():
    torch.manual_seed(0)
    mask_BT = ScheduledSampling(2, start=0.5)(batch=8, frames=8, device="cpu")
    assert len(mask_BT.unique(dim=0)) > 1 and len(mask_BT.unique(dim=1)) > 1


def test_coins_are_those_of_the_global_generator():
    sampling = ScheduledSampling(1000, start=0.5)
    torch.manual_seed(3)
    first = sampling(batch=4, frames=50, device="cpu")
    torch.manual_seed(3)
    assert torch.equal(sampling(batch=4, frames=50, device="cpu"), first)


@pytest.mark.parametrize("end", [0, 1])
def test_evaluation_tosses_none_and_counts_none(end):
    sampling = ScheduledSampling(4, start=0.5, end=end).eval()
    before = torch.get_rng_state()
    assert sampling(batch=2, frames=3, device="cpu").unique().tolist() == [bool(end)]
    assert sampling.step == 0 and torch.equal(torch.get_rng_state(), before)


def test_the_count_is_saved_with_the_weights():
    sampling, resumed = ScheduledSampling(4), ScheduledSampling(4)
    for _ in range(3):
        sampling(batch=1, frames=1, device="cpu")
    resumed.load_state_dict(sampling.state_dict())
    assert float(resumed.share()) == 0.25


def test_without_steps_the_end_is_the_beginning():
    sampling = ScheduledSampling(0)
    assert float(sampling.share()) == 0
    assert not sampling(batch=9, frames=9, device="cpu").any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": -1}, r"sampling_steps as a whole number from 0\n   found -1"),
        ({"steps": 1.5}, r"sampling_steps as a whole number from 0\n   found 1.5"),
        ({"steps": 1, "start": 1.5}, "found 1.5 and 0"),
        ({"steps": 1, "end": 0.5}, "found 1.0 and 0.5"),
    ],
)
def test_bad_schedules(arguments, words):
    with pytest.raises(ValueError, match=words):
        ScheduledSampling(**arguments)


# --- the unrolling ---


def test_masks_say_frame_by_frame_what_goes_in():
    # A network that adds one and writes down what it was fed. The truth is 0, 10, 20.
    fed = []

    def step(x_BCHW, state):
        fed.append(x_BCHW.flatten().tolist())
        return x_BCHW + 1, state

    truth_BTCHW = torch.tensor([[0.0, 10, 20], [0, 10, 20]]).reshape(2, 3, 1, 1, 1)
    mask_BT = torch.tensor([[False, True, False, True], [False, False, True, True]])
    made = unroll(step, truth_BTCHW, length=4, mask_BT=mask_BT)
    # Sample 0: 0, 10 true, then 10 + 1 its own; sample 1: 0, 0 + 1 its own, 20 true. Then no truth.
    assert fed == [[0, 0], [10, 1], [11, 20], [12, 21]]
    assert made.flatten(1).tolist() == [[1, 11, 12, 13], [1, 2, 21, 22]]


def test_state_is_handed_on():
    made = unroll(
        lambda x, state: (x * 0 + (state or 0), (state or 0) + 1), torch.zeros(1, 1, 1, 1, 1), 4
    )
    assert made.flatten().tolist() == [0, 1, 2, 3]


def test_no_gradient_through_a_frame_replaced_by_the_truth():
    w = torch.tensor(2.0, requires_grad=True)
    truth_BTCHW = torch.tensor([1.0, 5.0]).reshape(1, 2, 1, 1, 1)
    unroll(lambda x, state: (w * x, state), truth_BTCHW, 2)[:, -1].sum().backward()
    assert w.grad == 5  # of 5 w; of w (w 1), its own, it would be 2 w = 4
    w.grad = None
    own = torch.zeros(1, 2, dtype=torch.bool)
    unroll(lambda x, state: (w * x, state), truth_BTCHW, 2, own)[:, -1].sum().backward()
    assert w.grad == 4
