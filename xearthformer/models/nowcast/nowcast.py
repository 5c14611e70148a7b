"""Nowcast: rain moved on along its motion, and what may become of it on the way.

Past frames are moved along the paths of their motion to where the last one is, so that what is left
to forecast stands still. There a network says how likely which rain is, at every pixel and lead,
and that is moved on. A single forecast lays as much rain as there is likely to be where most of it
is likely; a member draws it, with noise correlated in space and time. What comes from where nothing
was seen fades to the mean of the rain that was, or is drawn.
Legend of the shape suffixes: B batch, T time, L leads, H W space, h w the same in coarse pixels,
C channels, D fields, K levels, N octaves of noise, 2 the components (x, y).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import flow, seen
from ..layers.checks import expect_counts, lists_to_tuples
from ..layers.flow import COARSE, FLOW_FRAMES
from ..layers.parallel import each
from .network import GROUPS, Coefficients, Fields, fields
from .noise import OCTAVES, balanced, octaves, power
from .rain import Rain, between, mapped, match, normal_to_share

MARGIN = 64  # pixels beyond the edge that are forecast too, from where rain may come in
BRIGHTNESS = 0.5  # the motion was tuned on rain in units of 20 decibels, not 10

# The area of rain above a level is a geometric mean of that expected and of that in the last frame,
# which counts for `LASTING` at the least rain and for all from `ALL` (5 mm/h) up: areas of intense
# rain last longer than the network, which knows a few events, can tell. Where the last frame has
# none, a share `RISE` of what is expected may come.
LEVELS = tuple(0.125 * n for n in range(29))  # a little over 1 dB apart, to 316 times the least
LASTING, ALL, RISE = 0.4, 1.7, 0.03
SOME = 2  # of the pixels along both axes, what is expected is told by every so-many-th
AT_FIRST = 4  # turns in which the noise of members is found at the first lead; one at others
# The single forecast ranks pixels by the rain of which this share is less: where it rains at all,
# by what is likely; above `INTENSE` (3 mm/h over a least of 0.1), by what may be. Both are mixed
# with the forecast of S-PROG, of which `SPROG` is the weight.
LIKELY, POSSIBLE, INTENSE, SPROG = 0.6, 0.85, 1.5, 0.3


@dataclass(frozen=True)
class NowcastConfig:
    """The shape of a nowcast. Lists, as JSON has them, are welcome.

    Parameters
    ----------
    in_len, out_len : int
        Frames in, of which the motion needs four, and frames out.
    widths : tuple of int
        Channels of the network at each resolution, from coarse pixels of 4 x 4 down; multiples of
        8.
    functions : int
        Functions of the lead that its answers are mixed from.

    Raises
    ------
    ValueError
        For what can't be.
    """

    in_len: int = 4
    out_len: int = 12
    widths: tuple[int, ...] = (48, 72, 112, 128)
    functions: int = 4

    def __post_init__(self) -> None:
        lists_to_tuples(self)
        expect_counts("widths", self.widths)
        if any(width % GROUPS for width in self.widths):
            raise ValueError(f"expected widths as multiples of {GROUPS}, found {self.widths}")
        if self.in_len < FLOW_FRAMES:
            raise ValueError(f"expected in_len of {FLOW_FRAMES} or more, found {self.in_len}")
        expect_counts("out_len and functions", (self.out_len, self.functions))


PRESETS = {
    "radar": NowcastConfig(),
    "tiny": NowcastConfig(out_len=3, widths=(8, 16)),
}


@dataclass(frozen=True)
class Past:
    """What the past of a domain and its margin tells, gaps closed along the motion."""

    size_HW: tuple[int, int]  # of the domain, without the margin
    mixed_BChw: Tensor  # the network's answer, on coarse pixels
    fields: Fields  # what it is about
    v_B2hw: Tensor  # the motion, in coarse cells per frame
    ways_BL2hw: Tensor  # where what is there at each lead came from
    last_BHW: Tensor  # the last frame, which goes on where nothing is seen
    seen_BHW: Tensor  # where it was seen
    known_BHW: Tensor  # the share of it that stems from what was seen
    mean_B: Tensor  # of what was seen of it


@dataclass(frozen=True)
class Lead:
    """One lead of a forecast, moved to where the rain is then (B, H, W each)."""

    rain: Rain
    sprog_BHW: Tensor  # the forecast of S-PROG
    known_BHW: Tensor  # the share that stems from what was seen
    at_B2HW: Tensor  # where it came from, in pixels


class Nowcast(nn.Module):
    """Future rain from past rain: (B, T, H, W, 1) of any H and W.

    Rain is the decimal logarithm over the least that counts, none is 0, and NaN what no radar sees.

    Examples
    --------
    >>> model = Nowcast(PRESETS["tiny"]).eval()
    >>> model.predict(torch.zeros(1, 4, 40, 37, 1)).shape
    torch.Size([1, 3, 40, 37, 1])
    """

    samples = False
    draws = True  # members, with a generator

    @staticmethod
    def carries(config: Mapping[str, object]) -> bool:
        """Whether a model of this configuration moves rain along, and so has `known`."""
        return True

    def __init__(self, config: NowcastConfig) -> None:
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.in_len, config.out_len
        self.network = Coefficients(config.in_len, config.out_len, config.widths, config.functions)

    # --- training

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Minus the mean log-likelihood of the future frames of crops; a scalar.

        The target is moved to where the last frame is, so that forecast and target both stand
        still.
        """
        x_BTHW, y_BLHW = x_BTHWC[..., 0], y_BTHWC[..., 0]
        with torch.no_grad():  # no weight takes part
            still_BTHW, v_B2hw = self.at_rest(x_BTHW)
            y_BLHW = flow.future_to_lagrangian(y_BLHW, v_B2hw)
        return self.loss_at_rest(still_BTHW, y_BLHW, range(self.out_len))

    def at_rest(self, x_BTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Past frames, moved along their motion to where the last is, NaN where nothing is seen.

        And the motion, in coarse cells per frame.
        """
        seen_BTHW, x_BTHW = ~x_BTHW.isnan(), torch.nan_to_num(x_BTHW)
        v_B2hw = flow.motion(BRIGHTNESS * x_BTHW, seen_BTHW)
        return _still(x_BTHW, seen_BTHW, v_B2hw), v_B2hw

    def loss_at_rest(
        self, still_BTHW: Tensor, y_BLHW: Tensor, leads: Sequence[int], stride: int = 1
    ) -> Tensor:
        """The same of frames that are at rest, of some leads, counted from 0.

        Of every `stride`-th pixel along both axes, as neighbours tell the same.
        """
        seen_BTHW, x_BTHW = ~still_BTHW.isnan(), torch.nan_to_num(still_BTHW)
        mixed_BChw = self.network(x_BTHW, seen_BTHW)
        of_frames = fields(x_BTHW, seen_BTHW, self.out_len).every(stride)
        each = [self.network.parameters_at(mixed_BChw, of_frames.at(lead), lead) for lead in leads]
        parameters_BLPHW = torch.stack(each, dim=1)
        return Rain.of(parameters_BLPHW, dim=2).loss(y_BLHW[..., ::stride, ::stride])

    # --- a forecast

    def predict(self, x_BTHWC: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The forecast (B, out_len, H, W, 1), never below zero or NaN.

        With a generator, a member for each row.
        """
        if generator is None:
            return self.ahead(self.past(x_BTHWC))
        rows = x_BTHWC.split(1)
        return torch.cat([self.draw(self.past(x_1THWC), [generator]) for x_1THWC in rows])

    def past(self, x_BTHWC: Tensor) -> Past:
        """What past frames tell of the domain and of a margin of which nothing is seen.

        The sides of both together are whole coarse pixels.
        """
        x_BTHW = x_BTHWC[..., 0]
        height, width = x_BTHW.shape[-2:]
        below, right = (-(size + 2 * MARGIN) % COARSE for size in (height, width))
        x_BTHW = F.pad(x_BTHW, (MARGIN, MARGIN + right, MARGIN, MARGIN + below), value=float("nan"))
        seen_BTHW = ~x_BTHW.isnan()
        x_BTHW.nan_to_num_()  # in place, as it is a padded copy
        v_B2hw = flow.motion(BRIGHTNESS * x_BTHW, seen_BTHW)
        x_BTHW, seen_BTHW = seen.complete(x_BTHW, seen_BTHW, v_B2hw)
        seen_BHW = seen_BTHW[:, -1]
        last = seen.continued(x_BTHW[:, -1], seen_BHW)
        still_BTHW = _still(x_BTHW, seen_BTHW, v_B2hw)
        seen_BTHW = ~still_BTHW.isnan()
        still_BTHW.nan_to_num_()
        jobs = (
            partial(self.network, still_BTHW, seen_BTHW),
            partial(fields, still_BTHW, seen_BTHW, self.out_len),
        )
        mixed_BChw, of_frames = each(lambda job: job(), jobs, x_BTHW.device)
        motion = v_B2hw, flow.paths(v_B2hw, self.out_len, -1)
        return Past((height, width), mixed_BChw, of_frames, *motion, last[0], seen_BHW, *last[1:])

    def known(self, past: Past, lead: int) -> Tensor:
        """The share of a forecast's values that stems from what was seen (B, lead, H, W)."""
        known_BLHW = seen.carried(past.known_BHW, past.v_B2hw, lead)
        return _without_margin(known_BLHW, past.size_HW)

    def lead(self, past: Past, n: int) -> Lead:
        """The distribution of rain at one lead, counted from 0, where the rain is by then.

        With the margin.
        """
        at_B2HW = flow.ends(past.ways_BL2hw[:, n], past.last_BHW)
        fields_BDHW = past.fields.at(n)
        parameters_BPHW = self.network.parameters_at(past.mixed_BChw, fields_BDHW, n)
        both_BPHW = torch.cat([parameters_BPHW.to(past.last_BHW), fields_BDHW[:, -1:]], dim=1)
        both_BPHW = flow.sample(both_BPHW, at_B2HW, edge="border")
        known_BHW = flow.share_at(past.known_BHW, at_B2HW)[:, 0]
        return Lead(Rain.of(both_BPHW[:, :-1], dim=1), both_BPHW[:, -1], known_BHW, at_B2HW)

    def ahead(self, past: Past, count: int | None = None) -> Tensor:
        """The single forecast (B, L, H, W, 1) from the past, of `count` leads or of all."""
        rows = zip(past.last_BHW, past.seen_BHW, strict=True)
        share_BK = torch.stack([_shares(last_HW, seen_HW) for last_HW, seen_HW in rows])

        def frame(n: int) -> Tensor:
            lead = self.lead(past, n)
            y_BHW = torch.stack([_single(lead, i, row_K) for i, row_K in enumerate(share_BK)])
            y_BHW = lead.known_BHW * y_BHW + (1 - lead.known_BHW) * past.mean_B[:, None, None]
            return _without_margin(y_BHW, past.size_HW)

        leads = range(self.out_len if count is None else count)
        return torch.stack(each(frame, leads, past.last_BHW.device), dim=1)[..., None]

    def draw(
        self, past: Past, generators: Sequence[torch.Generator], count: int | None = None
    ) -> Tensor:
        """Members (M, L, H, W, 1) from the past of one domain, each from its generator.

        `count` says how many leads, by default all. Members are dry where the last frame is dry
        all over.
        """
        count = self.out_len if count is None else count
        last_HW, seen_HW = past.last_BHW[0], past.seen_BHW[0]
        if not last_HW.any():  # nor has the single forecast rain then
            return last_HW.new_zeros(len(generators), count, *past.size_HW, 1)
        share_K = _shares(last_HW, seen_HW)

        def spread(n: int) -> tuple[Lead, Tensor]:
            lead = self.lead(past, n)
            return lead, mapped(LEVELS, *_areas(lead, 0, share_K)[1:])

        leads = each(spread, range(count), last_HW.device)
        # how much there is of each octave is found with one member more, the same one always
        probe = _Noise(last_HW, seen_HW, count, torch.Generator().manual_seed(0))
        variance_N = torch.full((len(OCTAVES),), 1 / len(OCTAVES), dtype=torch.float32)
        wanted_N = power(_without_margin(last_HW, past.size_HW))
        variances = []
        for n, (lead, levels_K) in enumerate(leads):
            octaves_NHW = next(probe.octaves_NHW)
            for _ in range(1 if n else AT_FIRST):
                y_1HW = _member(lead, octaves_NHW, variance_N, probe.beyond_HW, levels_K)
                found_N = power(_without_margin(y_1HW, past.size_HW)[0])
                variance_N = balanced(variance_N, found_N, wanted_N)
            variances.append(variance_N)

        def member(generator: torch.Generator) -> Tensor:
            noise = _Noise(last_HW, seen_HW, count, generator)
            how = zip(leads, variances, noise.octaves_NHW, strict=True)
            frames = [
                _member(lead, octaves_NHW, variance_N, noise.beyond_HW, levels_K)
                for (lead, levels_K), variance_N, octaves_NHW in how
            ]
            return _without_margin(torch.cat(frames), past.size_HW)

        return torch.stack(each(member, generators, last_HW.device))[..., None]


class _Noise:
    """What a member is drawn with: noise by lead, and rain that comes from the unknown."""

    def __init__(
        self, last_HW: Tensor, seen_HW: Tensor, leads: int, generator: torch.Generator
    ) -> None:
        self.beyond_HW = seen.random_rain(last_HW, seen_HW, generator)
        self.octaves_NHW = octaves(tuple(last_HW.shape), leads, generator)


def _still(x_BTHW: Tensor, seen_BTHW: Tensor, v_B2hw: Tensor) -> Tensor:
    """Frames moved along the motion to where the last one is; NaN where nothing is seen.

    What lies between pixels is a mean of rain, not of its logarithm.
    """
    rain_BTHW = torch.where(x_BTHW > 0, 10**x_BTHW, 0)  # over the least that counts
    rain_BTHW = flow.to_lagrangian(rain_BTHW, v_B2hw)
    seen_BTHW = flow.to_lagrangian(seen_BTHW, v_B2hw, "nearest") > 0.5
    return torch.where(seen_BTHW, rain_BTHW.clamp(min=1).log10(), torch.nan)


def _shares(last_HW: Tensor, seen_HW: Tensor) -> Tensor:
    """The share of the last frame above each of `LEVELS` (K)."""
    values_N = last_HW[seen_HW]
    shares = [(values_N > level).to(last_HW).sum() for level in LEVELS]
    return torch.stack(shares) / max(1, values_N.numel())


def _areas(lead: Lead, i: int, before_K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where all is known of a row (H, W), and the shares of that above `LEVELS` (K).

    Those the network expects, and those that are forecast, given those of the last frame.
    """
    inside_HW = lead.known_BHW[i] >= 1
    some = slice(None, None, SOME), slice(None, None, SOME)
    within = lead.rain[i][some][inside_HW[some]]
    expected_K = torch.stack([within.exceedance(level).mean() for level in LEVELS]).nan_to_num()
    lasting_K = (LASTING + (1 - LASTING) * before_K.new_tensor(LEVELS) / ALL).clamp(max=1)
    before_K = before_K.maximum(RISE * expected_K)
    share_K = expected_K ** (1 - lasting_K) * before_K**lasting_K
    return inside_HW, expected_K, share_K.cummin(0).values


def _single(lead: Lead, i: int, before_K: Tensor) -> Tensor:
    """The most likely places of a row's rain (H, W), as much of it as there is likely to be.

    None where the last frame is dry all over.
    """
    if not before_K[0] > 0:
        return torch.zeros_like(lead.known_BHW[i])
    inside_HW, _, share_K = _areas(lead, i, before_K)
    levels_K = share_K.new_tensor(LEVELS)
    sprog_HW = SPROG * lead.sprog_BHW[i]
    likely_HW, possible_HW = (
        match((1 - SPROG) * lead.rain[i].likely(share) + sprog_HW, inside_HW, levels_K, share_K)
        for share in (LIKELY, POSSIBLE)
    )
    return torch.where(possible_HW > INTENSE, possible_HW, likely_HW.clamp(max=INTENSE))


def _member(
    lead: Lead, octaves_NHW: Tensor, variance_N: Tensor, beyond_HW: Tensor, levels_K: Tensor
) -> Tensor:
    """Rain drawn by noise (1, H, W), and by further rain where it comes from the unknown.

    `variance_N` are the octaves' shares of the variance. `levels_K` is what stands for each of
    `LEVELS`, so that areas are those that are forecast.
    """
    noise_HW = (variance_N.sqrt().view(-1, 1, 1) * octaves_NHW).sum(dim=0).to(beyond_HW)
    # the nearest, as a mean of several has less variance; past the margin as at its edge
    noise_1HW = flow.sample(noise_HW[None, None], lead.at_B2HW, "nearest", "border")[:, 0]
    y_1HW = lead.rain.quantile(normal_to_share(noise_1HW))
    y_1HW = torch.where(y_1HW > 0, between(y_1HW, levels_K.new_tensor(LEVELS), levels_K), 0)
    further_1HW = flow.sample_periodic(beyond_HW[None, None], lead.at_B2HW)[:, 0]
    return lead.known_BHW * y_1HW + (1 - lead.known_BHW) * further_1HW


def _without_margin(y_BHW: Tensor, size_HW: tuple[int, int]) -> Tensor:
    """The domain itself, along the last two axes."""
    height, width = size_HW
    return y_BHW[..., MARGIN : MARGIN + height, MARGIN : MARGIN + width]
