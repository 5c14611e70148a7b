"""PreDiff (Gao et al., NeurIPS 2023): future frames as samples of a diffusion in latent space.

A frame-wise autoencoder (diffusers' AutoencoderKL) encodes frames as small latent frames. An
Earthformer-UNet removes noise from future latent frames step by step, given those of the past. An
alignment network predicts a property of the forecast from noisy latent frames. The order and size
of the steps is a sampler's business (samplers.py).
Legend of the shape suffixes: B batch, N tiles, F frames (B and T together), T time, H W space, h w
the same in latent pixels, C channels, 2 the components (x, y) of a motion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers import flow, seen
from ..layers.checks import expect_counts, expect_fields
from ..layers.mosaic import Mosaic, in_batches
from . import alignment, samplers
from . import denoiser as unet
from .alignment import Alignment, AlignmentConfig
from .denoiser import EarthformerUNet, EarthformerUNetConfig

# How far from the rain of the past, along the motion, there may be rain in a forecast, and over how
# many of these pixels it fades. In five radar records at most 3 in 1000 of the next hour's rainy
# pixels lay further than 32 km from it, 1 in 1800 further than 48.
REACH, FADE = 48, 16
NOISY = 200  # steps of the diffusion from which there is more noise than rain


@dataclass(frozen=True)
class AutoencoderConfig:
    """The shape of diffusers' AutoencoderKL, for frames of one channel. Lists are welcome.

    Parameters
    ----------
    block_out_channels : tuple of int
        Channels of each level; each level but the last halves the grid.
    layers_per_block : int
        Residual blocks per level on the way down; one more on the way up.
    latent_channels : int
        Channels of latent frames.
    norm_num_groups : int
        Groups of the group norms; every level's channels divide by it.
    """

    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    latent_channels: int = 64
    norm_num_groups: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_out_channels", tuple(self.block_out_channels))
        expect_counts("block_out_channels", self.block_out_channels)
        for name in ("layers_per_block", "latent_channels", "norm_num_groups"):
            expect_counts(name, (getattr(self, name),))
        if any(channels % self.norm_num_groups for channels in self.block_out_channels):
            raise ValueError(
                f"expected block_out_channels divisible by norm_num_groups={self.norm_num_groups}, "
                f"found {self.block_out_channels}"
            )

    @property
    def factor(self) -> int:
        """Number of pixels along a side of a latent pixel."""
        return 2 ** (len(self.block_out_channels) - 1)

    def build(self) -> nn.Module:
        """Build the autoencoder, with fresh weights."""
        # Here, as diffusers takes two seconds to import and most models do without it.
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        levels = len(self.block_out_channels)
        return AutoencoderKL(
            in_channels=1,
            out_channels=1,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=self.block_out_channels,
            layers_per_block=self.layers_per_block,
            latent_channels=self.latent_channels,
            norm_num_groups=self.norm_num_groups,
            act_fn="silu",
        )


@dataclass(frozen=True)
class PreDiffConfig:
    """The shapes of PreDiff's networks, and the numbers between them. Mappings are welcome.

    Shapes that do not fit one another are a ValueError.

    Parameters
    ----------
    autoencoder : AutoencoderConfig
        The autoencoder of single frames.
    denoiser : EarthformerUNetConfig
        The denoiser of latent frames; its input is the context.
    alignment : AlignmentConfig or None
        The alignment network on latent frames; None: no knowledge alignment.
    latent_scale : float
        Factor that gives latent frames a standard deviation of about one.
    noise_scale : float
        Divisor of the noise that the denoiser finds. Above 1 less noise is removed, which corrects
        samples that are too alike and too smooth ("epsilon scaling", Ning et al., ICLR 2024).
    growth : float or None
        Upper limit of a forecast, as a multiple of the largest normalised value of its context
        (of 1, where none is as large). None: no limit.
    least : float
        Normalised values below it become 0: remains of noise where there is no rain.
    along_motion : bool
        Whether past frames are moved along their motion to where the last one is before they are
        encoded, and the forecast is moved on along it afterwards. The networks then forecast rain
        that stands still, of which none is kept further than `REACH` pixels from where any of the
        past frames has rain. What moves in from where nothing was seen is drawn at random.
    """

    autoencoder: AutoencoderConfig = AutoencoderConfig()
    denoiser: EarthformerUNetConfig = EarthformerUNetConfig()
    alignment: AlignmentConfig | None = AlignmentConfig()
    # These two keep the word `scale`: the cards of packs store them under these names.
    latent_scale: float = 1.0
    noise_scale: float = 1.0
    growth: float | None = None
    least: float = 0.0
    along_motion: bool = False

    def __post_init__(self) -> None:
        kinds = AutoencoderConfig, EarthformerUNetConfig, AlignmentConfig
        for name, kind in zip(("autoencoder", "denoiser", "alignment"), kinds, strict=True):
            if isinstance(value := getattr(self, name), dict):
                expect_fields(kind, value)
                object.__setattr__(self, name, kind(**value))
        channels = self.autoencoder.latent_channels
        _, h, w, latent_channels = self.denoiser.target_shape
        if latent_channels != channels or h != w:  # square, as tiles of a mosaic are
            raise ValueError(
                f"expected latent frames (T, n, n, {channels}), as the autoencoder makes them, "
                f"found denoiser.target_shape={self.denoiser.target_shape}"
            )
        if self.alignment and self.alignment.input_shape != self.denoiser.target_shape:
            raise ValueError(
                f"expected alignment.input_shape={self.denoiser.target_shape}, the denoiser's "
                f"target, found {self.alignment.input_shape}"
            )
        for name in ("latent_scale", "noise_scale", "growth"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"expected {name} above 0, found {value!r}")

    @property
    def tile(self) -> int:
        """Number of pixels along a side of the networks' input."""
        return self.denoiser.target_shape[1] * self.autoencoder.factor


_RADAR_LATENTS = {"input_shape": (7, 16, 16, 16), "target_shape": (6, 16, 16, 16)}

PRESETS: dict[str, PreDiffConfig] = {
    # The published checkpoints: VIL of SEVIR on 128 x 128 pixels, every 10 minutes.
    "sevir-lr": PreDiffConfig(),
    # The shipped pack `prediff-radar`.
    "radar": PreDiffConfig(
        autoencoder=AutoencoderConfig((16, 32, 64, 64), 1, latent_channels=16, norm_num_groups=8),
        denoiser=EarthformerUNetConfig(base_units=64, depth=(1, 1), dropout=0.0, **_RADAR_LATENTS),
        alignment=AlignmentConfig(base_units=32, dropout=0.0, input_shape=(6, 16, 16, 16)),
        noise_scale=1.105,
        growth=1.0,
        least=0.15,
        along_motion=True,
    ),
    # Small enough for a test.
    "tiny": PreDiffConfig(
        autoencoder=AutoencoderConfig((8, 8, 16), 1, latent_channels=4, norm_num_groups=4),
        denoiser=unet.PRESETS["tiny"],
        alignment=alignment.PRESETS["tiny"],
    ),
}
PRESETS["tiny-motion"] = replace(
    PRESETS["tiny"],
    denoiser=replace(unet.PRESETS["tiny"], input_shape=(4, 8, 8, 4), target_shape=(2, 8, 8, 4)),
    alignment=replace(alignment.PRESETS["tiny"], input_shape=(2, 8, 8, 4)),
    along_motion=True,
)


@dataclass(frozen=True)
class Context:
    """The condition of a sample; encoded once per init, whatever the number of members."""

    z_BThwC: Tensor  # the latent past frames, of the whole (padded) domain
    frames_BTHW: Tensor  # the past frames themselves, normalised, with 0 for missing values
    # On the padded domain, only with `along_motion`: coarse cells per frame, where the last frame
    # is seen, and what share of rain may be: 0 where none has been within reach.
    motion_B2hw: Tensor | None
    seen_BHW: Tensor | None
    near_BHW: Tensor | None
    at_once: int  # number of tiles that go through a network together

    @classmethod
    def join(cls, contexts: list[Context]) -> Context:
        """Return the contexts of several rows as one."""
        first = contexts[0]
        # All have a motion, or none has: it is a matter of the model's config.
        motions = [each.motion_B2hw for each in contexts if each.motion_B2hw is not None]
        seen = [each.seen_BHW for each in contexts if each.seen_BHW is not None]
        near = [each.near_BHW for each in contexts if each.near_BHW is not None]
        return replace(
            first,
            z_BThwC=torch.cat([each.z_BThwC for each in contexts]),
            frames_BTHW=torch.cat([each.frames_BTHW for each in contexts]),
            motion_B2hw=torch.cat(motions) if motions else None,
            seen_BHW=torch.cat(seen) if seen else None,
            near_BHW=torch.cat(near) if near else None,
        )


def within_reach(still_BTHW: Tensor) -> Tensor:
    """The share of rain that may be (B, H, W): 1 near past rain, 0 further than `REACH` from it.

    Examples
    --------
    >>> still_BTHW = torch.zeros(1, 2, 1, 64)
    >>> still_BTHW[0, 0, 0, 0] = 0.5
    >>> within_reach(still_BTHW)[0, 0, [0, 32, 36, 47, 48, 63]].tolist()
    [1.0, 1.0, 0.75, 0.0625, 0.0, 0.0]
    """
    from scipy.ndimage import distance_transform_edt  # here: half a second that others do without

    far_BHW = torch.ones_like(still_BTHW[:, 0])
    for far_HW, rain_HW in zip(far_BHW, (still_BTHW > 0).any(dim=1).cpu().numpy(), strict=True):
        if rain_HW.any():  # else there is nothing to be near to
            away_HW = (distance_transform_edt(~rain_HW) - (REACH - FADE)) / FADE
            far_HW.copy_(torch.from_numpy(away_HW.clip(0, 1)))
    return 1 - far_BHW


class PreDiff(nn.Module):
    """Samples of future frames from past frames (B, T, H, W, 1), of any H and W.

    Frames are normalised; NaN is read as 0, or as not seen by a model that follows the motion. A
    domain larger than a tile is one field in latent
    space, which goes through the networks in a mosaic of tiles; a smaller one is padded.

    Examples
    --------
    >>> model = PreDiff(PRESETS["tiny"]).eval()
    >>> model.predict(torch.zeros(1, 3, 16, 20, 1), torch.Generator().manual_seed(0)).shape
    torch.Size([1, 2, 16, 20, 1])
    """

    samples = True

    @staticmethod
    def carries(config: Mapping[str, object]) -> bool:
        """Whether a model of this configuration moves rain along, and so has `known`."""
        return bool(config.get("along_motion"))

    def __init__(self, config: PreDiffConfig) -> None:
        super().__init__()
        self.config = config
        self.in_len, self.out_len = config.denoiser.input_shape[0], config.denoiser.target_shape[0]
        self.autoencoder = config.autoencoder.build()
        self.denoiser = EarthformerUNet(config.denoiser)
        if config.alignment is not None:
            self.alignment = Alignment(config.alignment)

    # --- the way in

    def context(self, x_BTHWC: Tensor, at_once: int = 1) -> Context:
        """Encode the past, by the mode of its posterior; more than one channel is a ValueError."""
        if x_BTHWC.shape[-1] != 1:
            raise ValueError(f"expected one channel, found {x_BTHWC.shape[-1]}: one variable alone")
        frames_BTHW = x_BTHWC[..., 0]
        if not self.config.along_motion:
            frames_BTHW = torch.nan_to_num(frames_BTHW)
            z_BThwC = self.encode(self._padded(frames_BTHW), at_once)[0]
            return Context(z_BThwC, frames_BTHW, None, None, None, at_once)
        x_BTHW, seen_BTHW, motion_B2hw = self._past(frames_BTHW)
        still_BTHW = flow.to_lagrangian(x_BTHW, motion_B2hw)
        z_BThwC = self.encode(still_BTHW, at_once)[0]
        height, width = frames_BTHW.shape[-2:]
        completed_BTHW, last_BHW = x_BTHW[..., :height, :width], seen_BTHW[:, -1]
        near_BHW = within_reach(still_BTHW)
        return Context(z_BThwC, completed_BTHW, motion_B2hw, last_BHW, near_BHW, at_once)

    def _past(self, frames_BTHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The padded past, gaps closed along the motion; what is seen of it; the motion."""
        x_BTHW = self._padded(frames_BTHW, float("nan"))
        seen_BTHW, x_BTHW = ~x_BTHW.isnan(), torch.nan_to_num(x_BTHW)
        motion_B2hw = flow.motion(x_BTHW, seen_BTHW)
        return *seen.complete(x_BTHW, seen_BTHW, motion_B2hw), motion_B2hw

    def known(self, context: Context, lead: int) -> Tensor:
        """The share of a forecast's values that stems from what was seen (B, lead, H, W)."""
        assert context.motion_B2hw is not None and context.seen_BHW is not None  # along the motion
        height, width = context.frames_BTHW.shape[-2:]
        known_BHW = context.seen_BHW.to(context.frames_BTHW)
        return seen.carried(known_BHW, context.motion_B2hw, lead)[..., :height, :width]

    def encode(self, x_BTHW: Tensor, at_once: int = 1) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the latent frames, times `latent_scale`."""

        def net(x_NTHWC: Tensor) -> Tensor:
            x_FCHW = rearrange(x_NTHWC, "n t h w c -> (n t) c h w")
            moments = self.autoencoder.encode(x_FCHW).latent_dist
            both = torch.cat([moments.mean, moments.std], dim=1) * self.config.latent_scale  # 2 C
            return rearrange(both, "(n t) c h w -> n t h w c", t=x_NTHWC.shape[1])

        mosaic = Mosaic(tuple(x_BTHW.shape[-2:]), self.config.tile)
        tiles = in_batches(net, mosaic.split(x_BTHW[..., None]), size=at_once)
        factor = self.config.autoencoder.factor
        h, w = (n // factor for n in mosaic.size_HW)
        z_BThwC = Mosaic((h, w), mosaic.tile // factor).join(tiles)
        return z_BThwC.chunk(2, dim=-1)

    def _padded(self, x_BTHW: Tensor, value: float = 0.0) -> Tensor:
        """Add a value at the end of H and W, up to whole latent pixels, and at least a tile."""
        # Both are powers of two: a multiple of the larger is one of the smaller.
        unit = max(self.config.autoencoder.factor, flow.COARSE)
        pads = [max(self.config.tile, n + -n % unit) - n for n in x_BTHW.shape[-2:]]
        return F.pad(x_BTHW, (0, pads[1], 0, pads[0]), value=value)

    def tiles(self, size_HW: tuple[int, int]) -> int:
        """Return the number of tiles in which a domain of this size goes through the networks."""
        with torch.device("meta"):
            padded = self._padded(torch.empty(1, 1, *size_HW))
        return len(Mosaic(tuple(padded.shape[-2:]), self.config.tile).corners)

    # --- the middle: for samplers and guidance

    def noise_shape(self, context: Context) -> tuple[int, ...]:
        """Return (T, h, w, C) of the future latent frames."""
        return (self.out_len, *context.z_BThwC.shape[2:])

    def denoise(self, z_BThwC: Tensor, t: int, context: Context) -> Tensor:
        """Return the noise in future latent frames at step t, found tile by tile.

        While there is much noise tiles only abut: what they disagree on is found again later.
        """
        mosaic = self._mosaic(z_BThwC)
        if t >= NOISY:
            mosaic = replace(mosaic, overlap=0.0)
        tiles = in_batches(
            lambda z, context: self.denoiser(z, z.new_full((len(z),), t), context),
            mosaic.split(z_BThwC),
            mosaic.split(context.z_BThwC),
            size=context.at_once,
        )
        return mosaic.join(tiles) / self.config.noise_scale

    def align(self, z_BThwC: Tensor, t: int) -> Tensor:
        """Return the alignment network's answers (B, T, out_channels), means over tiles."""
        mosaic = self._mosaic(z_BThwC)
        tiles = mosaic.split(z_BThwC)
        answers = self.alignment(tiles, tiles.new_full((len(tiles),), t))
        return answers.unflatten(0, (-1, len(mosaic.corners))).mean(dim=1)

    def _mosaic(self, z_BThwC: Tensor) -> Mosaic:
        return Mosaic(tuple(z_BThwC.shape[2:4]), self.config.denoiser.target_shape[1])

    # --- the way out

    def decode(
        self,
        z_BThwC: Tensor,
        context: Context,
        generators: Sequence[torch.Generator | None] | None = None,
    ) -> Tensor:
        """Return frames (B, T, H, W, 1) from latent frames.

        Along the motion there is none where no rain has been within reach. With a generator for
        each row, what moves in from where nothing was seen is drawn from it; without any, rain goes
        on there as it is at the edge.
        """
        # One frame at a time, in batches of `context.at_once` tiles: bounded memory.
        frames = [self._decode_frame(z, context) for z in z_BThwC.split(1, dim=1)]
        y_BTHW = torch.cat(frames, dim=1)[..., 0]
        if context.motion_B2hw is not None:
            assert context.near_BHW is not None  # as the motion
            y_BTHW = y_BTHW * context.near_BHW[:, None]
            further = () if generators is None else self._beyond(context, generators)
            y_BTHW = flow.from_lagrangian(y_BTHW, context.motion_B2hw, *further)
        # Limits after the motion: its cubics overshoot.
        if (growth := self.config.growth) is not None:
            largest_B = context.frames_BTHW.flatten(1).amax(dim=1).clamp(min=1)
            y_BTHW = y_BTHW.minimum(growth * largest_B[:, None, None, None])
        if (least := self.config.least) > 0:
            y_BTHW = torch.where(y_BTHW < least, 0, y_BTHW)
        height, width = context.frames_BTHW.shape[-2:]
        return y_BTHW[..., :height, :width, None]  # without the padding

    def _beyond(
        self, context: Context, generators: Sequence[torch.Generator | None]
    ) -> tuple[Tensor, Tensor]:
        """Where the last frame is seen (1, else 0), and random rain for elsewhere; padded."""
        assert context.seen_BHW is not None  # as the motion
        last_BHW = self._padded(context.frames_BTHW[:, -1:])[:, 0]
        rows = zip(last_BHW, context.seen_BHW, generators, strict=True)
        return context.seen_BHW.to(last_BHW), torch.stack([seen.random_rain(*row) for row in rows])

    def _decode_frame(self, z_B1hwC: Tensor, context: Context) -> Tensor:
        def net(z_NThwC: Tensor) -> Tensor:
            z_NChw = rearrange(z_NThwC[:, 0], "n h w c -> n c h w") / self.config.latent_scale
            y_NCHW = self.autoencoder.decode(z_NChw).sample
            return rearrange(y_NCHW, "n c h w -> n 1 h w c")

        if z_B1hwC.requires_grad:  # guidance: keep the activations of one batch at a time
            net = partial(checkpoint, net, use_reentrant=False, preserve_rng_state=False)
        mosaic, factor = self._mosaic(z_B1hwC), self.config.autoencoder.factor
        tiles = in_batches(net, mosaic.split(z_B1hwC), size=context.at_once)
        h, w = mosaic.size_HW
        return Mosaic((h * factor, w * factor), self.config.tile).join(tiles)

    def predict(
        self, x_BTHWC: Tensor, generator: torch.Generator | None = None, steps: int | None = None
    ) -> Tensor:
        """Return one sample per row (B, out_len, H, W, 1), by the quickest sampler."""
        context = self.context(x_BTHWC)
        shape = self.noise_shape(context)
        # Drawn on the CPU, so that a seed gives the same noise on every device.
        z_BThwC = torch.randn(len(x_BTHWC), *shape, generator=generator, dtype=torch.float32)
        z_BThwC = z_BThwC.to(x_BTHWC)
        denoise = partial(self.denoise, context=context)
        z_BThwC = samplers.sample("dpm++", denoise, z_BThwC, steps, generators=generator)
        return self.decode(z_BThwC, context, [generator] * len(x_BTHWC))
