"""Noise of members: of unit variance, as smooth as its lattices, and with a memory."""

import pytest
import torch

from xearthformer.models.nowcast import noise
from xearthformer.models.nowcast.noise import OCTAVES, octaves

SMALL = (1, 2, 4, 8)  # octaves of which a small domain holds many points
MEMORY = 0.2, 0.4, 0.7, 0.9


def drawn(seed, size=(70, 66), leads=1, memory=(*MEMORY, 0.9, 0.9, 0.9)):
    """Noise (L, N, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([*octaves(size, torch.tensor(memory), leads, generator)])


@pytest.fixture(scope="module")
def many():
    """Draws of the small octaves (S, L, N, H, W)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "OCTAVES", SMALL)
        return torch.stack([drawn(seed, leads=3, memory=MEMORY) for seed in range(60)])


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
