"""PreDiff (Gao et al., NeurIPS 2023): frames to come as samples of a diffusion in latent space.

A frame-wise autoencoder makes frames small (a kept library's AutoencoderKL); an Earthformer-UNet
takes noise away from the small frames to come, step by step, given the small frames that were; an
alignment network says what noisy small frames will amount to. How the steps go is a sampler's
business (samplers.py). Legend of the shape suffixes: B batch, T time, H W space, h w the same in
latent pixels, C channels, 2 the components (x, y) of a motion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers import flow
from ..layers.attention import expect_counts, expect_fields
from ..layers.mosaic import Mosaic, in_batches
from . import alignment, samplers
from . import denoiser as earthformer_unet
from .alignment import Alignment, AlignmentConfig
from .denoiser import EarthformerUNet, EarthformerUNetConfig

FLOW_FRAMES = 4  # the last frames, which tell the motion


@dataclass(frozen=True)
class AutoencoderConfig:
    """The shape of diffusers' AutoencoderKL, for frames of one channel. Lists are welcome.

    Parameters
    ----------
    block_out_channels : tuple of int
        Channels of each level; each level but the last halves the grid.
    layers_per_block : int
        Residual blocks of a level on the way down; one more on the way up.
    latent_channels : int
    norm_num_groups : int

    Raises
    ------
    ValueError
        Channels that don't divide into the groups.
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
        """Pixels along a side of a latent pixel."""
        return 2 ** (len(self.block_out_channels) - 1)

    def build(self) -> nn.Module:
        """The autoencoder, with fresh weights."""
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
    """The shapes of PreDiff's networks, and what stands between them. Dicts are welcome.

    Parameters
    ----------
    autoencoder : AutoencoderConfig
    denoiser : EarthformerUNetConfig
        On latent frames: context and target.
    alignment : AlignmentConfig or None
        On the latent target alone; None: no knowledge alignment.
    latent_scale : float
        What latent frames are multiplied by, so that their spread is about one.
    noise_scale : float
        What the noise that the denoiser finds is divided by. Above 1 less of it is taken away,
        which makes up for a denoiser whose samples are too alike and too smooth ("epsilon
        scaling", Ning et al., ICLR 2024).
    growth : float or None
        How far a forecast may go, in times the most intense pixel of its context, or 1 where none
        is as intense; scaled. None: as far as it goes.
    least : float
        Scaled values below it are none: what is left of the noise where nothing is.
    along_motion : bool
        Whether frames are drawn along their motion into the place of the last one before they are
        made small, and carried on by it afterwards: what is left to forecast stands still. What
        comes in from beyond the rim is then what stands inside it, mirrored and slanted.

    Raises
    ------
    ValueError
        When the shapes do not fit one another.
    """

    autoencoder: AutoencoderConfig = AutoencoderConfig()
    denoiser: EarthformerUNetConfig = EarthformerUNetConfig()
    alignment: AlignmentConfig | None = AlignmentConfig()
    latent_scale: float = 1.0
    noise_scale: float = 1.0
    growth: float | None = None
    least: float = 0.0
    along_motion: bool = False

    def __post_init__(self) -> None:
        for name, kind in (
            ("autoencoder", AutoencoderConfig),
            ("denoiser", EarthformerUNetConfig),
            ("alignment", AlignmentConfig),
        ):
            if isinstance(value := getattr(self, name), dict):
                expect_fields(kind, value)
                object.__setattr__(self, name, kind(**value))
        channels = self.autoencoder.latent_channels
        _, h, w, found = self.denoiser.target_shape
        if found != channels or h != w:
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
        """Pixels of a side of what the networks take at once."""
        return self.denoiser.target_shape[1] * self.autoencoder.factor


_RADAR_LATENTS = {"input_shape": (7, 16, 16, 16), "target_shape": (6, 16, 16, 16)}

PRESETS: dict[str, PreDiffConfig] = {
    # The published checkpoints.
    "sevir-lr": PreDiffConfig(),
    # What ships as the pack `prediff-radar`.
    "radar": PreDiffConfig(
        autoencoder=AutoencoderConfig((16, 32, 64, 64), 1, latent_channels=16, norm_num_groups=8),
        denoiser=EarthformerUNetConfig(base_units=64, depth=(1, 1), dropout=0.0, **_RADAR_LATENTS),
        alignment=AlignmentConfig(
            base_units=32, depth=(1, 1), dropout=0.0, input_shape=(6, 16, 16, 16)
        ),
        noise_scale=1.105,
        growth=1.0,
        least=0.15,
        along_motion=True,
    ),
    # Small enough for a test.
    "tiny": PreDiffConfig(
        autoencoder=AutoencoderConfig((8, 8, 16), 1, latent_channels=4, norm_num_groups=4),
        denoiser=earthformer_unet.PRESETS["tiny"],
        alignment=alignment.PRESETS["tiny"],
    ),
}
PRESETS["tiny-motion"] = replace(
    PRESETS["tiny"],
    denoiser=replace(
        earthformer_unet.PRESETS["tiny"], input_shape=(4, 8, 8, 4), target_shape=(2, 8, 8, 4)
    ),
    alignment=replace(alignment.PRESETS["tiny"], input_shape=(2, 8, 8, 4)),
    along_motion=True,
)


@dataclass(frozen=True)
class Context:
    """What a sample is conditioned on; made once an init, whatever the members.

    Attributes
    ----------
    z_BThwC : Tensor
        The latent frames that were, of the whole (padded) domain.
    frames_BTHW : Tensor
        The frames themselves, scaled, as they came in, none missing.
    motion_B2hw : Tensor or None
        Of the padded domain, in cells of the flow a frame; None: frames stand as they came.
    at_once : int
        Tiles that go through a network together.
    """

    z_BThwC: Tensor
    frames_BTHW: Tensor
    motion_B2hw: Tensor | None
    at_once: int

    @classmethod
    def join(cls, contexts: list[Context]) -> Context:
        """The contexts of several rows as one."""
        first = contexts[0]
        motions = [each.motion_B2hw for each in contexts if each.motion_B2hw is not None]
        return replace(
            first,
            z_BThwC=torch.cat([each.z_BThwC for each in contexts]),
            frames_BTHW=torch.cat([each.frames_BTHW for each in contexts]),
            motion_B2hw=torch.cat(motions) if motions else None,
        )


class PreDiff(nn.Module):
    """Samples of frames to come, from frames that were (B, T, H, W, 1), H and W from `tile` up.

    Frames are scaled; NaN is read as 0. A domain larger than a tile is one field in latent space,
    which the networks see in a mosaic of tiles.

    Examples
    --------
    >>> model = PreDiff(PRESETS["tiny"]).eval()
    >>> model.predict(torch.zeros(1, 3, 16, 20, 1), torch.Generator().manual_seed(0)).shape
    torch.Size([1, 2, 16, 20, 1])
    """

    samples = True

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
        """Encode what was, by the mode of its posterior."""
        x_BTHW = x_BTHWC[..., 0]
        frames_BTHW = torch.nan_to_num(x_BTHW)
        x_BTHW, motion_B2hw = self._padded(frames_BTHW), None
        if self.config.along_motion:
            motion_B2hw = flow.motion(x_BTHW[:, -FLOW_FRAMES:])
            x_BTHW = flow.to_lagrangian(x_BTHW, motion_B2hw)
        z_BThwC = self.encode(x_BTHW, at_once)[0]
        return Context(z_BThwC, frames_BTHW, motion_B2hw, at_once)

    def encode(self, x_BTHW: Tensor, at_once: int = 1) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latent frames (B, T, h, w, C), scaled."""

        def net(x_NTHWC: Tensor) -> Tensor:
            x_FCHW = rearrange(x_NTHWC, "n t h w c -> (n t) c h w")
            moments = self.autoencoder.encode(x_FCHW).latent_dist
            both = torch.cat([moments.mean, moments.std], dim=1) * self.config.latent_scale
            return rearrange(both, "(n t) c h w -> n t h w c", t=x_NTHWC.shape[1])

        mosaic = Mosaic(tuple(x_BTHW.shape[-2:]), self.config.tile)
        tiles = in_batches(net, mosaic.split(x_BTHW[..., None]), size=at_once)
        factor = self.config.autoencoder.factor
        h, w = (n // factor for n in mosaic.size_HW)
        z_BThwC = Mosaic((h, w), mosaic.tile // factor).join(tiles)
        return z_BThwC.chunk(2, dim=-1)

    def _padded(self, x_BTHW: Tensor) -> Tensor:
        """Zeros at the end of each axis, up to whole latent pixels, and a tile or more."""
        unit = max(self.config.autoencoder.factor, flow.COARSE)
        pads = [max(self.config.tile, n + -n % unit) - n for n in x_BTHW.shape[-2:]]
        return F.pad(x_BTHW, (0, pads[1], 0, pads[0]))

    def tiles(self, size_HW: tuple[int, int]) -> int:
        """How many tiles a domain of this size goes through the networks in."""
        with torch.device("meta"):
            padded = self._padded(torch.empty(1, 1, *size_HW))
        return len(Mosaic(tuple(padded.shape[-2:]), self.config.tile).corners)

    # --- the middle: what samplers and guidance are given

    def noise_shape(self, context: Context) -> tuple[int, ...]:
        """(T, h, w, C) of the latent frames to come."""
        return (self.out_len, *context.z_BThwC.shape[2:])

    def denoise(self, z_BThwC: Tensor, t: int, context: Context) -> Tensor:
        """The noise in latent frames to come at step t, in a mosaic where they are large."""
        mosaic = self._mosaic(z_BThwC)
        noise_BThwC = mosaic.join(
            in_batches(
                lambda z, context: self.denoiser(z, z.new_full((len(z),), t), context),
                mosaic.split(z_BThwC),
                mosaic.split(context.z_BThwC),
                size=context.at_once,
            )
        )
        return noise_BThwC / self.config.noise_scale

    def align(self, z_BThwC: Tensor, t: int) -> Tensor:
        """The alignment network's answer for each frame (B, T, out_channels), a mean over tiles."""
        mosaic = self._mosaic(z_BThwC)
        tiles = mosaic.split(z_BThwC)
        answers = self.alignment(tiles, tiles.new_full((len(tiles),), t))
        return answers.unflatten(0, (-1, len(mosaic.corners))).mean(dim=1)

    def _mosaic(self, z_BThwC: Tensor) -> Mosaic:
        return Mosaic(tuple(z_BThwC.shape[2:4]), self.config.denoiser.target_shape[1])

    # --- the way out

    def decode(self, z_BThwC: Tensor, context: Context) -> Tensor:
        """Frames (B, T, H, W, 1) from latent frames.

        In pieces of `context.at_once` tiles, a frame at a time.
        """
        frames = [self._decode_frame(z, context) for z in z_BThwC.split(1, dim=1)]
        y_BTHW = torch.cat(frames, dim=1)[..., 0]
        if context.motion_B2hw is not None:
            y_BTHW = flow.from_lagrangian(y_BTHW, context.motion_B2hw)
        height, width = context.frames_BTHW.shape[-2:]
        if (growth := self.config.growth) is not None:
            most_B = context.frames_BTHW.flatten(1).amax(dim=1).clamp(min=1)
            y_BTHW = y_BTHW.minimum(growth * most_B[:, None, None, None])
        if (least := self.config.least) > 0:
            y_BTHW = torch.where(y_BTHW < least, 0, y_BTHW)
        return y_BTHW[..., :height, :width, None]

    def _decode_frame(self, z_B1hwC: Tensor, context: Context) -> Tensor:
        def net(z_NThwC: Tensor) -> Tensor:
            z_NChw = rearrange(z_NThwC[:, 0], "n h w c -> n c h w") / self.config.latent_scale
            y_NCHW = self.autoencoder.decode(z_NChw).sample
            return rearrange(y_NCHW, "n c h w -> n 1 h w c")

        if z_B1hwC.requires_grad:  # a gradient then holds the inside of one piece at a time
            net = partial(checkpoint, net, use_reentrant=False, preserve_rng_state=False)
        mosaic, factor = self._mosaic(z_B1hwC), self.config.autoencoder.factor
        tiles = in_batches(net, mosaic.split(z_B1hwC), size=context.at_once)
        h, w = mosaic.size_HW
        return Mosaic((h * factor, w * factor), self.config.tile).join(tiles)

    def predict(
        self, x_BTHWC: Tensor, generator: torch.Generator | None = None, steps: int | None = None
    ) -> Tensor:
        """One sample of each row (B, out_len, H, W, 1), by the quickest sampler."""
        context = self.context(x_BTHWC)
        shape = self.noise_shape(context)
        z_BThwC = torch.randn(len(x_BTHWC), *shape, generator=generator).to(x_BTHWC)
        denoise = partial(self.denoise, context=context)
        z_BThwC = samplers.sample("dpm++", denoise, z_BThwC, steps, generators=generator)
        return self.decode(z_BThwC, context)
