"""The stages of PreDiff's training (Gao et al. 2023, section 3 and appendix), and their losses.

The autoencoder learns on frames. The denoiser and the alignment network learn on latent windows,
which the finished autoencoder makes once (`latent_window`).
Legend of the shape suffixes: B batch, T time, H W space, h w the same in latent pixels, C channels,
S channels of a latent target (see `latent_window`), F frames (B and T together), K the steps of the
diffusion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.func import functional_call

from ..layers import flow
from ..layers.checks import expect_fields
from . import samplers
from .prediff import PreDiff

NEAR = 10.0  # in steps of the diffusion: how far one sample's error says something of others
SHARE = 0.1  # weight of a sample in the running mean of errors


@dataclass(frozen=True)
class AutoencoderStage:
    """Training of the autoencoder, on single frames.

    Parameters
    ----------
    kl_weight : float
        Weight of the divergence of the posterior from a standard normal; that of the mean absolute
        error is 1.
    discriminator : float
        Weight of a patch discriminator's loss (Isola et al. 2017). 0: none. The paper's is 0.5.
    discriminator_from : int
        The training step from which on the discriminator's loss is added.
    """

    name: str = "autoencoder"
    kl_weight: float = 1e-6  # tiny: latents need not be normal, only bounded
    discriminator: float = 0.0
    discriminator_from: int = 50_001

    def task(self, model: PreDiff) -> AutoencoderTask:
        return AutoencoderTask(model, self)


@dataclass(frozen=True)
class DenoiserStage:
    """Training of the denoiser, on latent windows.

    Parameters
    ----------
    views : int
        Number of times that each window is used, each time turned or mirrored at random.
    mode : bool
        Whether a target is the mode of its posterior, for an autoencoder whose posterior is wide.
        Default: a sample of it, as in the paper.
    """

    name: str = "denoiser"
    views: int = 1
    mode: bool = False

    def task(self, model: PreDiff) -> DenoiserTask:
        return DenoiserTask(model, self.mode)


@dataclass(frozen=True)
class AlignmentStage:
    """Training of the alignment network, on latent windows; `views` as in `DenoiserStage`."""

    name: str = "alignment"
    views: int = 1

    def task(self, model: PreDiff) -> AlignmentTask:
        return AlignmentTask(model)


Stage = AutoencoderStage | DenoiserStage | AlignmentStage
STAGES: dict[str, type[Stage]] = {
    kind.name: kind for kind in (AutoencoderStage, DenoiserStage, AlignmentStage)
}


def stage(choice: str | Mapping[str, object]) -> Stage:
    """Return a stage by its name, or by its name and options; ValueError where one is unknown.

    >>> stage({"name": "denoiser", "views": 2})
    DenoiserStage(name='denoiser', views=2, mode=False)
    """
    options = {"name": choice} if isinstance(choice, str) else dict(choice)
    if (name := options.get("name")) not in STAGES:
        raise ValueError(f"expected a stage of PreDiff, one of {sorted(STAGES)}, found {choice!r}")
    expect_fields(STAGES[name], options)
    return STAGES[name](**options)


# --- the autoencoder


class AutoencoderTask(nn.Module):
    """Frames through the autoencoder and back: mean absolute error, divergence, discriminator."""

    in_len = out_len = 1  # two frames per window; the loss takes both alike

    def __init__(self, model: PreDiff, options: AutoencoderStage) -> None:
        super().__init__()
        self.autoencoder, self.options = model.autoencoder, options
        if options.discriminator:
            self.discriminator = PatchDiscriminator()
        # A buffer, so that a resumed run counts on.
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Loss over all frames of the windows, past and future; pixels not seen do not count."""
        frames = torch.cat([x_BTHWC, y_BTHWC], dim=1)
        x_FCHW = rearrange(frames, "b t h w c -> (b t) c h w")
        seen_FCHW, x_FCHW = ~x_FCHW.isnan(), torch.nan_to_num(x_FCHW)
        posterior = self.autoencoder.encode(x_FCHW).latent_dist
        y_FCHW = self.autoencoder.decode(posterior.sample()).sample
        error = ((y_FCHW - x_FCHW).abs() * seen_FCHW).sum() / seen_FCHW.sum().clamp(min=1)
        loss = error + self.options.kl_weight * posterior.kl().mean()
        if self.training:
            self.step += 1
        if self.options.discriminator and self.step >= self.options.discriminator_from:
            loss = loss + self._verdict(x_FCHW, torch.where(seen_FCHW, y_FCHW, x_FCHW))
        return loss

    def _verdict(self, x_FCHW: Tensor, y_FCHW: Tensor) -> Tensor:
        """The losses of both sides in one sum, each with the other side's weights fixed."""
        # For the autoencoder: its frames should pass as real. One optimiser trains both sides,
        # so the discriminator's weights are detached here, and the frames below.
        fixed = {key: value.detach() for key, value in self.discriminator.named_parameters()}
        fooling = -functional_call(self.discriminator, fixed, y_FCHW).mean()
        # For the discriminator: the hinge loss (Lim & Ye 2017).
        real, decoded = self.discriminator(x_FCHW), self.discriminator(y_FCHW.detach())
        hinge = (F.relu(1 - real).mean() + F.relu(1 + decoded).mean()) / 2
        return self.options.discriminator * fooling + hinge

    @torch.no_grad()
    def into(self, model: PreDiff, windows: tuple[Tensor, Tensor]) -> PreDiff:
        """Return PreDiff with the trained autoencoder, and `latent_scale` for these windows.

        The scale gives latent frames a standard deviation of one, which the diffusion expects.
        """
        x_BCHW = torch.nan_to_num(windows[0][:, -1].movedim(-1, 1))
        z = torch.cat([self.autoencoder.encode(x).latent_dist.mean for x in x_BCHW.split(16)])
        config = replace(model.config, latent_scale=float(f"{1 / float(z.std()):.4g}"))
        scaled = PreDiff(config)  # a new one: configs are frozen
        scaled.load_state_dict(model.state_dict())
        scaled.autoencoder.load_state_dict(self.autoencoder.state_dict())
        return scaled.eval()


class PatchDiscriminator(nn.Sequential):
    """Real or decoded, one score per patch of a frame (Isola et al. 2017, "PatchGAN")."""

    def __init__(self, channels: tuple[int, ...] = (1, 64, 128, 256)) -> None:
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(channels):
            layers += [nn.Conv2d(c_in, c_out, 4, 2, 1), nn.GroupNorm(8, c_out), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(channels[-1], 1, 4, 1, 1))


# --- latent windows


@torch.no_grad()
def latent_window(model: PreDiff, x_BTHWC: Tensor, y_BTHWC: Tensor) -> tuple[Tensor, Tensor]:
    """Encode windows of frames, as the denoiser and the alignment network learn on them.

    Frames in and out are a tile, or with `along_motion` a larger square around the tile, so that
    what moves in from outside is seen. The result is the latent context (B, T, h, w, C) and the
    target (B, T, h, w, S), S = 2 C + 2: mean and standard deviation of its latent frames (C each),
    the mask of latent pixels that are seen, and each frame's mean intensity.
    """
    seen_BTHW = ~x_BTHWC[..., 0].isnan()
    x_BTHW, y_BTHW = torch.nan_to_num(x_BTHWC[..., 0]), y_BTHWC[..., 0]
    if model.config.along_motion:
        motion_B2hw = flow.motion(x_BTHW, seen_BTHW)
        x_BTHW = flow.to_lagrangian(x_BTHW, motion_B2hw)
        y_BTHW = flow.future_to_lagrangian(y_BTHW, motion_B2hw)
    tile, factor = model.config.tile, model.config.autoencoder.factor
    start = (x_BTHW.shape[-1] - tile) // 2  # of the tile, in pixels
    middle = slice(start, start + tile)
    x_BTHW, y_BTHW = x_BTHW[..., middle, middle], y_BTHW[..., middle, middle]
    seen_BTHW, y_BTHW = ~y_BTHW.isnan(), torch.nan_to_num(y_BTHW)
    context_BThwC, _ = model.encode(x_BTHW, len(x_BTHW))
    moments = model.encode(y_BTHW, len(y_BTHW))
    # Latent pixels count where all of their pixels are seen.
    seen_BThw = 1 - F.max_pool2d((~seen_BTHW).to(y_BTHW), factor)
    intensity_BT = y_BTHW.sum(dim=(-2, -1)) / seen_BTHW.sum(dim=(-2, -1)).clamp(min=1)
    rest = seen_BThw, intensity_BT[..., None, None].expand_as(seen_BThw)
    return context_BThwC, torch.cat([*moments, torch.stack(rest, dim=-1)], dim=-1)


class NoisyTarget(NamedTuple):
    """A target's latent frames with noise, and what the losses compare with."""

    z_BThwC: Tensor
    noise_BThwC: Tensor
    t_B: Tensor  # steps of the diffusion
    seen_BThw1: Tensor
    intensity_BT: Tensor


def noisy_target(target_BThwS: Tensor, mode: bool = False) -> NoisyTarget:
    """Add noise of random steps to targets: to a sample of their posterior, or to its mode."""
    channels = (target_BThwS.shape[-1] - 2) // 2
    mean, std, rest = target_BThwS.split([channels, channels, 2], dim=-1)
    # The order of these three draws is part of what a seed means.
    z = mean if mode else mean + std * torch.randn_like(mean)
    t_B = torch.randint(samplers.STEPS, (len(z),), device=z.device)
    noise = torch.randn_like(z)
    z = samplers.add_noise(z, noise, t_B)
    return NoisyTarget(z, noise, t_B, rest[..., :1], rest[..., 1].mean(dim=(-2, -1)))


# --- the networks on latent windows


class DenoiserTask(nn.Module):
    """Squared error of the noise found in noisy targets, weighed by the step of the diffusion.

    The loss of Ho et al. (2020), Eqn 14, over exp(logvar_t), plus logvar_t, which is learned too.
    Each of the thousand steps comes too rarely for a gradient: logvar_t is set to the value at
    which this loss is smallest, the logarithm of the mean squared error at step t.
    """

    def __init__(self, model: PreDiff, mode: bool = False) -> None:
        super().__init__()
        self.in_len, self.out_len = model.in_len, model.out_len
        self.denoiser, self.mode = model.denoiser, mode
        self.register_buffer("logvar", torch.zeros(samplers.STEPS))

    def loss(self, context_BThwC: Tensor, target_BThwS: Tensor) -> Tensor:
        """Loss of latent windows (see `latent_window`); pixels not seen do not count."""
        target = noisy_target(target_BThwS, self.mode)
        noise_BThwC = self.denoiser(target.z_BThwC, target.t_B, context_BThwC)
        error = (noise_BThwC - target.noise_BThwC).square() * target.seen_BThw1
        # At least one, as a target of which nothing is seen has an error of 0, not 0/0.
        count_B = target.seen_BThw1.expand_as(error).sum(dim=(1, 2, 3, 4)).clamp(min=1)
        error_B = error.sum(dim=(1, 2, 3, 4)) / count_B
        logvar_B = self.logvar[target.t_B]
        if self.training:
            self._learn(target.t_B, error_B.detach())
        return (error_B / logvar_B.exp() + logvar_B).mean()

    def _learn(self, t_B: Tensor, error_B: Tensor) -> None:
        """Update the running mean of errors, in which a sample counts for the steps near it too."""
        distance_BK = t_B[:, None] - torch.arange(samplers.STEPS, device=t_B.device)
        near_BK = torch.exp(-((distance_BK / NEAR) ** 2) / 2)
        near_K = near_BK.sum(dim=0)
        error_K = (near_BK * error_B[:, None]).sum(dim=0) / near_K.clamp(min=1e-30)
        # As if the batch's samples came one by one; steps far from all of them stay as they are.
        self.logvar = self.logvar.exp().lerp(error_K, 1 - (1 - SHARE) ** near_K).log()

    def into(self, model: PreDiff, windows: tuple[Tensor, Tensor]) -> PreDiff:
        """Return PreDiff with the trained denoiser."""
        model.denoiser.load_state_dict(self.denoiser.state_dict())
        return model.eval()


class AlignmentTask(nn.Module):
    """Squared error of the mean intensity of each frame, as found from noisy targets."""

    def __init__(self, model: PreDiff) -> None:
        super().__init__()
        self.in_len, self.out_len = model.in_len, model.out_len
        self.alignment = model.alignment

    def loss(self, context_BThwC: Tensor, target_BThwS: Tensor) -> Tensor:
        """Loss of latent windows (see `latent_window`); the context is not used."""
        target = noisy_target(target_BThwS)
        answer_BT = self.alignment(target.z_BThwC, target.t_B)[..., 0]
        last = slice(-answer_BT.shape[1], None)  # the network may answer for the last frames only
        # A frame of which less than half is seen has no mean intensity worth learning.
        seen_BT = (target.seen_BThw1.mean(dim=(2, 3, 4)) > 0.5).to(target.z_BThwC)[:, last]
        error_BT = (answer_BT - target.intensity_BT[:, last]).square() * seen_BT
        return error_BT.sum() / seen_BT.sum().clamp(min=1)

    def into(self, model: PreDiff, windows: tuple[Tensor, Tensor]) -> PreDiff:
        """Return PreDiff with the trained alignment network."""
        model.alignment.load_state_dict(self.alignment.state_dict())
        return model.eval()
