"""Noise of members: of unit variance, as smooth as its lattices, and with a memory."""

import pytest
import torch

from xearthformer.models.nowcast import noise
from xearthformer.models.nowcast.noise import LEAST, MOST, OCTAVES, balanced, octaves, power

SMALL = (1, 2, 4, 8)  # octaves of which a small domain holds many points
MEMORY = 0.2, 0.4, 0.7, 0.9


def drawn(seed, size=(70, 66), leads=1):
    """Noise (L, N, H, W)."""
    return torch.stack([*octaves(size, leads, torch.Generator().manual_seed(seed))])


@pytest.fixture(scope="module")
def many():
    """Draws of the small octaves (S, L, N, H, W)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "OCTAVES", SMALL)
        patch.setattr(noise, "MEMORY", MEMORY)
        return torch.stack([drawn(seed, leads=3) for seed in range(60)])


def test_variance_is_one_at_every_lead(many):
    assert many.shape == (60, 3, 4, 70, 66)
    variance = many.square().mean(dim=(0, 3, 4))
    torch.testing.assert_close(variance, torch.ones(3, 4), atol=0.07, rtol=0)


def test_neighbouring_points_of_a_lattice_correlate_alike(many):
    """A Gaussian filter of one point: exp(-1/4) at a distance of one, exp(-1) of two.

    Pixels between points are means of these, and correlate a little more.
    """
    for n, step in enumerate(SMALL):
        each = many[:, 0, n]
        for points, expected in ((1, 0.78), (2, 0.37)):
            shift = points * step
            found = (each[..., shift:] * each[..., :-shift]).mean() / each.square().mean()
            assert float(found) == pytest.approx(expected, abs=0.1 if n else 0.02)


def test_each_octave_keeps_its_share_from_lead_to_lead(many):
    for n, memory in enumerate(MEMORY):
        for lead in (0, 1):
            both = many[:, lead, n] * many[:, lead + 1, n]
            assert float(both.mean()) == pytest.approx(memory, abs=0.07)


def test_octaves_differ(many):
    flat = many[:, 0].transpose(0, 1).flatten(1)
    assert (torch.corrcoef(flat) - torch.eye(4)).abs().max() < 0.05


def test_it_is_a_function_of_the_generator():
    assert torch.equal(drawn(1, leads=3), drawn(1, leads=3))
    assert torch.equal(drawn(1, leads=3)[:2], drawn(1, leads=2))
    assert (drawn(1) - drawn(2)).abs().amax(dim=(0, 2, 3)).min() > 0.1


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (65, 64)])
def test_fields_of_any_size(size):
    found = drawn(0, size, leads=2)
    assert found.shape == (2, len(OCTAVES), *size) and found.isfinite().all()


def test_power_is_found_in_the_band_of_its_scale():
    """A Gaussian of 0.7 steps passes most of a wave of eight steps, and of one of four little."""
    x = torch.arange(256.0)
    for band, step in enumerate(OCTAVES[:5]):
        found_N = power(torch.sin(2 * torch.pi * x / (5 * step)).expand(256, 256))
        assert int(found_N.argmax()) == band


def test_octaves_of_too_much_power_get_less_and_none_gets_all():
    even_N = torch.full((len(OCTAVES),), 1 / len(OCTAVES))
    for too_much in (4.0, 1e9):  # a factor counts for 5 at most
        found_N = balanced(
            even_N, torch.ones(7).index_fill(0, torch.tensor(1), too_much), even_N * 7
        )
        assert float(found_N.sum()) == pytest.approx(1)
        assert float(found_N[1] / found_N[0]) == pytest.approx(min(too_much, 5) ** -0.5)
    alone_N = even_N
    for _ in range(30):
        alone_N = balanced(alone_N, torch.tensor([0.0, *[9.0] * 6]), even_N)
    assert float(alone_N[0]) == pytest.approx(MOST) and alone_N.min() >= LEAST
    assert float(alone_N.sum()) == pytest.approx(1)
    assert balanced(even_N, torch.zeros(7), torch.zeros(7)).isfinite().all()
