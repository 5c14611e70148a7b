"""PhyDNet: filters and their moments, a step of the cell by hand, teacher forcing, sizes."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from conv_by_hand import convolve

from xearthformer.models.baselines.phydnet import (
    ORDERS,
    PRESETS,
    PhyCell,
    PhyDNet,
    PhyDNetConfig,
    moment_matrix,
    moments,
)

TINY = PRESETS["tiny"]


def field(polynomial, size=9):
    """A polynomial p(y, x) on a grid around the origin, (1, 1, H, W), float64."""
    place = torch.arange(size, dtype=torch.float64) - size // 2
    return polynomial(place[:, None], place[None, :])[None, None]


def from_moments(m_IJ):
    """The one filter (..., k, l) with these moments: the inverse of `moments`."""
    inverse_kI = torch.linalg.inv(moment_matrix(m_IJ.shape[-1])).to(m_IJ)
    return inverse_kI @ m_IJ @ inverse_kI.mT


def test_the_filter_of_the_second_derivative_is_the_usual_one():
    assert from_moments(unit(0, 2, 3))[1].round().tolist() == [1.0, -2.0, 1.0]


def unit(i, j, orders=ORDERS):
    """Moments of the derivative of order i along H and j along W."""
    m_IJ = torch.zeros(orders, orders, dtype=torch.float64)
    m_IJ[i, j] = 1
    return m_IJ


# p(y, x) = y^2 x^3 - 4 y x + 5 x + 7 at the places (y, x) = (-1, 0, 1)^2, and its derivatives
@pytest.mark.parametrize(
    ("orders", "derivative"),
    [
        ((0, 0), lambda y, x: y**2 * x**3 - 4 * y * x + 5 * x + 7),
        ((0, 1), lambda y, x: 3 * y**2 * x**2 - 4 * y + 5),
        ((1, 0), lambda y, x: 2 * y * x**3 - 4 * x),
        ((1, 1), lambda y, x: 6 * y * x**2 - 4 + 0 * x),
        ((2, 0), lambda y, x: 2 * x**3 + 0 * y),
        ((2, 3), lambda y, x: 12 + 0 * y + 0 * x),
        ((3, 0), lambda y, x: 0 * y + 0 * x),
    ],
)
def test_a_filter_with_a_derivatives_moments_computes_it(orders, derivative):
    p_BCHW = field(lambda y, x: y**2 * x**3 - 4 * y * x + 5 * x + 7)
    cell = PhyCell(8).double()
    with torch.no_grad():
        cell.filters.weight.zero_()
        cell.filters.weight[10, 3] = from_moments(unit(*orders))
        p_BCHW = p_BCHW * torch.eye(8, dtype=torch.float64)[3, :, None, None]  # in channel 3
        found_HW = cell.filters(p_BCHW)[0, 10, 3:-3, 3:-3]
    torch.testing.assert_close(found_HW, field(derivative, 3)[0, 0], rtol=0, atol=1e-9)


def test_moments_of_finite_differences_are_those_of_the_derivatives():
    ahead = torch.zeros(3, 3, dtype=torch.float64)
    ahead[1, 1], ahead[1, 2] = -1, 1  # f(x + 1) - f(x) = f' + f''/2 + ...
    expected = torch.zeros(3, 3, dtype=torch.float64)
    expected[0, 1], expected[0, 2] = 1, 0.5
    torch.testing.assert_close(moments(ahead), expected)
    laplace = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(moments(laplace), unit(2, 0, 3) + unit(0, 2, 3))


def test_filters_and_moments_are_inverses():
    w_CIJ = torch.randn(3, ORDERS, ORDERS, generator=torch.manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(from_moments(moments(w_CIJ)), w_CIJ)


def test_moment_loss_is_zero_for_derivatives_and_grows_with_the_square_of_what_is_off():
    cell = PhyCell(8, orders=3).double()
    exact = torch.stack([from_moments(unit(i, j, 3)) for i in range(3) for j in range(3)])
    with torch.no_grad():
        cell.filters.weight.copy_(exact[:, None].expand(-1, 8, -1, -1))
        assert cell.moment_loss() < 1e-24
        # one moment of one filter of one channel is off by 2: 4 in 9 filters x 8 channels x 9
        cell.filters.weight[4, 5] += from_moments(2 * unit(0, 1, 3))
    assert float(cell.moment_loss().detach()) == pytest.approx(4 / (9 * 8 * 9))


def test_moment_loss_keeps_its_precision_under_autocast():
    cell = PhyCell(8)
    with torch.autocast("cpu", torch.bfloat16):
        inside = cell.moment_loss()
    assert torch.equal(inside, cell.moment_loss())


def test_one_step_of_phycell_by_hand():
    torch.manual_seed(0)
    cell = PhyCell(2, orders=3).double()
    with torch.no_grad():
        cell.norm.weight.normal_()
        cell.norm.bias.normal_()
    p = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    u, h = np.random.default_rng(0).standard_normal((2, 2, 4, 5))
    # Phi: derivatives, normed by their order along H (3 of them each), combined
    derivatives = convolve(h, cell.filters).reshape(3, 3, 4, 5)
    mean = derivatives.mean(axis=(1, 2, 3), keepdims=True)
    variance = derivatives.var(axis=(1, 2, 3), keepdims=True)
    normed = ((derivatives - mean) / np.sqrt(variance + 1e-5)).reshape(9, 4, 5)
    normed = normed * p["norm.weight"][:, None, None] + p["norm.bias"][:, None, None]
    predicted = h + np.einsum("on,nhw->ohw", p["combine.weight"][:, :, 0, 0], normed)
    gain = np.tanh(convolve(np.concatenate([predicted, u]), cell.gate))
    expected = predicted + gain * (u - predicted)
    found = cell(torch.from_numpy(u)[None], torch.from_numpy(h)[None])
    np.testing.assert_allclose(found[0].detach().numpy(), expected, atol=1e-12)


def test_a_phycell_starts_from_zero():
    cell = PhyCell(8)
    u_BCHW = torch.randn(1, 8, 4, 5)
    assert torch.equal(cell(u_BCHW), cell(u_BCHW, torch.zeros_like(u_BCHW)))


def test_both_branches_and_the_skips_reach_the_forecast():
    torch.manual_seed(0)
    model, x = PhyDNet(TINY), torch.rand(1, 16, 16, 1).movedim(-1, 1)
    with torch.no_grad():
        _, (physical, residual) = model.step(x)
        whole, _ = model.step(x, (physical, residual))
        no_past = [(torch.zeros_like(h), torch.zeros_like(c)) for h, c in residual]
        assert not torch.allclose(model.step(x, (torch.zeros_like(physical), residual))[0], whole)
        assert not torch.allclose(model.step(x, (physical, no_past))[0], whole)
        latent, skip = torch.zeros(1, 16, 4, 4), torch.rand(1, 16, 8, 8)
        with_skip = model.decoder(latent, [skip])
        assert not torch.allclose(with_skip, model.decoder(latent, [torch.zeros_like(skip)]))


def test_training_is_taught_by_the_truth_and_bound_by_moments():
    x, y = torch.rand(2, 4, 16, 16, 1), torch.rand(2, 3, 16, 16, 1)
    torch.manual_seed(0)
    model = PhyDNet(replace(TINY, sampling_steps=1))
    with torch.no_grad():
        plain = torch.nn.functional.mse_loss(model.predict(x), y)
        taught = model.loss(x, y) - model.physical.moment_loss()  # all of the truth
        untaught = model.loss(x, y) - model.physical.moment_loss()  # then none
        assert torch.equal(model.eval().loss(x, y), plain)
    torch.testing.assert_close(untaught, plain)
    assert not torch.isclose(taught, plain, rtol=1e-4)
    assert int(model.sampling.step) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kernel": 4}, "expected kernel to be odd, found 4"),
        ({"hidden": (16, 8)}, r"expected hidden to end with .* 16, found \(16, 8\)"),
        ({"hidden": ()}, "expected hidden to be"),
        ({"widths": (16, 12)}, "expected widths that are multiples of 8"),
        ({"widths": (16,)}, "expected widths to be 2 whole numbers"),
        ({"scales": (2, 0)}, "expected scales"),
        ({"scales": 4}, "expected scales as a list of one or more, found 4"),
        ({"scales": ()}, "expected scales as a list of one or more"),
        ({"scales": (2, 0.5)}, "expected scales to be 2 whole numbers"),
        ({"in_len": 0}, "expected in_len to be"),
        ({"height": 18}, r"expected scales whose product divides frames of \(18, 16\)"),
        ({"scales": ((2, 2), (2, 3))}, r"together \(4, 6\)"),
        ({"sampling_steps": -1}, "expected sampling_steps"),
    ],
)
def test_a_config_that_does_not_fit_is_an_error(changes, words):
    with pytest.raises(ValueError, match=words):
        PhyDNet(replace(TINY, **changes))


def test_frames_of_another_shape_are_an_error():
    model = PhyDNet(TINY)
    for shape in [(1, 3, 16, 16, 1), (1, 4, 18, 16, 1), (1, 4, 16, 16, 2)]:
        with pytest.raises(ValueError, match=r"expected x of shape .*\(4, 16, 16, 1\)"):
            model.predict(torch.zeros(shape))


def test_a_config_comes_back_from_json():
    as_json = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(TINY).items()}
    assert PhyDNetConfig(**as_json) == TINY
    assert replace(TINY, scales=[2, [2, 2]]) == TINY
