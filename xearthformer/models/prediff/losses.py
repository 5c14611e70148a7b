"""The three trainings of PreDiff (Gao et al. 2023, section 3 and appendix), each a loss of its own.

The autoencoder learns on frames. The denoiser and the alignment network learn on latent windows,
which the finished autoencoder makes once (`latent_window`). Legend of the shape suffixes: B batch,
T time, H W space, h w the same in latent pixels, C channels, S what a latent window's target holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.func import functional_call

from ..layers import flow
from ..layers.attention import expect_fields
from . import samplers
from .prediff import FLOW_FRAMES, PreDiff

NEAR = 10.0  # steps of the diffusion: how far one sample's error tells that of others
SHARE = 0.1  # of a sample in the running mean of errors


@dataclass(frozen=True)
class AutoencoderStage:
    """How the autoencoder learns.

    Parameters
    ----------
    kl_weight : float
        Of the divergence of the posterior from a standard normal, against the mean absolute error.
    discriminator : float
        Weight of a patch discriminator's verdict (Isola et al. 2017); 0: none. The paper's is 0.5.
    discriminator_from : int
        The step from which on it counts.
    """

    name: str = "autoencoder"
    kl_weight: float = 1e-6
    discriminator: float = 0.0
    discriminator_from: int = 50_001

    def task(self, model: PreDiff) -> AutoencoderTask:
        return AutoencoderTask(model, self)


@dataclass(frozen=True)
class DenoiserStage:
    """How the denoiser learns, on latent windows.

    Parameters
    ----------
    views : int
        Random turns of each window.
    mode : bool
        Whether a target is the mode of its posterior, and not a sample of it as in the paper: for
        an autoencoder whose posterior is wide.
    """

    name: str = "denoiser"
    views: int = 1
    mode: bool = False

    def task(self, model: PreDiff) -> DenoiserTask:
        return DenoiserTask(model, self.mode)


@dataclass(frozen=True)
class AlignmentStage:
    """How the alignment network learns: on latent windows, each in this many random turns."""

    name: str = "alignment"
    views: int = 1

    def task(self, model: PreDiff) -> AlignmentTask:
        return AlignmentTask(model)


Stage = AutoencoderStage | DenoiserStage | AlignmentStage
STAGES: dict[str, type] = {
    "autoencoder": AutoencoderStage,
    "denoiser": DenoiserStage,
    "alignment": AlignmentStage,
}


def stage(said: str | dict[str, Any]) -> Stage:
    """A stage by its name, or by its name and options.

    Examples
    --------
    >>> stage({"name": "denoiser", "views": 2})
    DenoiserStage(name='denoiser', views=2, mode=False)
    """
    options = {"name": said} if isinstance(said, str) else dict(said)
    if (name := options.get("name")) not in STAGES:
        raise ValueError(f"expected a stage of PreDiff, one of {sorted(STAGES)}, found {said!r}")
    expect_fields(STAGES[name], options)
    return STAGES[name](**options)


# --- the autoencoder


class AutoencoderTask(nn.Module):
    """Frames through the autoencoder and back: mean absolute error, and a touch of divergence."""

    in_len = out_len = 1

    def __init__(self, model: PreDiff, options: AutoencoderStage) -> None:
        super().__init__()
        self.autoencoder, self.options = model.autoencoder, options
        if options.discriminator:
            self.discriminator = PatchDiscriminator()
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def loss(self, x_BTHWC: Tensor, y_BTHWC: Tensor) -> Tensor:
        """Of all frames of windows, whatever their time; what isn't seen counts for nothing."""
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
        """Both sides' loss in one: the discriminator held still for the autoencoder, and
        the autoencoder for the discriminator (hinge)."""
        still = {key: value.detach() for key, value in self.discriminator.named_parameters()}
        fooled = -functional_call(self.discriminator, still, y_FCHW).mean()
        real, made = self.discriminator(x_FCHW), self.discriminator(y_FCHW.detach())
        judged = (F.relu(1 - real).mean() + F.relu(1 + made).mean()) / 2
        return self.options.discriminator * fooled + judged

    @torch.no_grad()
    def into(self, model: PreDiff, windows: tuple[Tensor, Tensor]) -> PreDiff:
        """The whole with this part learnt; latent frames of these windows get a spread of one."""
        x_BCHW = torch.nan_to_num(windows[0][:, -1].movedim(-1, 1))
        z = torch.cat([self.autoencoder.encode(x).latent_dist.mean for x in x_BCHW.split(16)])
        config = replace(model.config, latent_scale=float(f"{1 / float(z.std()):.4g}"))
        whole = PreDiff(config)
        whole.load_state_dict(model.state_dict())
        whole.autoencoder.load_state_dict(self.autoencoder.state_dict())
        return whole.eval()


class PatchDiscriminator(nn.Sequential):
    """Real or made, for every patch of a frame (Isola et al. 2017, "PatchGAN")."""

    def __init__(self, channels: tuple[int, ...] = (1, 64, 128, 256)) -> None:
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(channels):
            layers += [nn.Conv2d(c_in, c_out, 4, 2, 1), nn.GroupNorm(8, c_out), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(channels[-1], 1, 4, 1, 1))


# --- latent windows


@torch.no_grad()
def latent_window(model: PreDiff, x_BTHWC: Tensor, y_BTHWC: Tensor) -> tuple[Tensor, Tensor]:
    """Windows of frames as the denoiser and the alignment network learn on them.

    Parameters
    ----------
    model : PreDiff
        Whose autoencoder is finished.
    x_BTHWC, y_BTHWC : Tensor
        Frames in and frames out, of a tile; of more where they are drawn along their motion, whose
        tile is then the middle.

    Returns
    -------
    context_BThwC, target_BThwS : Tensor
        The latent context; and of the target the mean and the standard deviation of its latent
        frames (C each), where it is seen, and each frame's mean intensity.
    """
    x_BTHW, y_BTHW = torch.nan_to_num(x_BTHWC[..., 0]), y_BTHWC[..., 0]
    if model.config.along_motion:
        motion_B2hw = flow.motion(x_BTHW[:, -FLOW_FRAMES:])
        x_BTHW = flow.in_place(x_BTHW, motion_B2hw)
        y_BTHW = flow.back_in_place(y_BTHW, motion_B2hw)
    tile, factor = model.config.tile, model.config.autoencoder.factor
    start = (x_BTHW.shape[-1] - tile) // 2
    middle = slice(start, start + tile)
    x_BTHW, y_BTHW = x_BTHW[..., middle, middle], y_BTHW[..., middle, middle]
    seen_BTHW, y_BTHW = ~y_BTHW.isnan(), torch.nan_to_num(y_BTHW)
    context_BThwC, _ = model.encode(x_BTHW, len(x_BTHW))
    moments = model.encode(y_BTHW, len(y_BTHW))
    seen_BThw = 1 - F.max_pool2d((~seen_BTHW).to(y_BTHW), factor)
    intensity_BT = y_BTHW.sum(dim=(-2, -1)) / seen_BTHW.sum(dim=(-2, -1)).clamp(min=1)
    rest = seen_BThw, intensity_BT[..., None, None].expand_as(seen_BThw)
    return context_BThwC, torch.cat([*moments, torch.stack(rest, dim=-1)], dim=-1)


def _unpack(
    target_BThwS: Tensor, mode: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A target in noise, the noise, its step of the diffusion, where it is seen, its intensity.

    The target is a sample of its posterior, or the mode.
    """
    channels = (target_BThwS.shape[-1] - 2) // 2
    mean, std, rest = target_BThwS.split([channels, channels, 2], dim=-1)
    z = mean if mode else mean + std * torch.randn_like(mean)
    t_B = torch.randint(samplers.STEPS, (len(z),), device=z.device)
    noise = torch.randn_like(z)
    return samplers.noisy(z, noise, t_B), noise, t_B, rest[..., :1], rest[..., 1].mean(dim=(-2, -1))


# --- the networks on latent windows


class DenoiserTask(nn.Module):
    """The noise in noisy targets: squared error, each step of the diffusion weighed as it learns.

    Ho et al. (2020), Eqn 14, per sample over exp(logvar_t), plus logvar_t, which is learned: not by
    its gradient, as the optimizer comes by each of the thousand steps too rarely, but as what makes
    this loss least, the logarithm of the mean squared error at step t.
    """

    def __init__(self, model: PreDiff, mode: bool = False) -> None:
        super().__init__()
        self.in_len, self.out_len = model.in_len, model.out_len
        self.denoiser, self.mode = model.denoiser, mode
        self.register_buffer("logvar", torch.zeros(samplers.STEPS))

    def loss(self, context_BThwC: Tensor, target_BThwS: Tensor) -> Tensor:
        """Of latent windows (see `latent_window`); what isn't seen counts for nothing."""
        z, noise, t_B, seen, _ = _unpack(target_BThwS, self.mode)
        error = (self.denoiser(z, t_B, context_BThwC) - noise).square() * seen
        some_B = seen.expand_as(error).sum(dim=(1, 2, 3, 4)).clamp(min=1)
        error_B = error.sum(dim=(1, 2, 3, 4)) / some_B
        logvar_B = self.logvar[t_B]
        if self.training:
            self._learn(t_B, error_B.detach())
        return (error_B / logvar_B.exp() + logvar_B).mean()

    def _learn(self, t_B: Tensor, error_B: Tensor) -> None:
        """A running mean over samples, those of steps near by counted too."""
        away_BS = t_B[:, None] - torch.arange(samplers.STEPS, device=t_B.device)
        near_BS = torch.exp(-((away_BS / NEAR) ** 2) / 2)
        near_S = near_BS.sum(dim=0)
        error_S = (near_BS * error_B[:, None]).sum(dim=0) / near_S.clamp(min=1e-30)
        self.logvar = self.logvar.exp().lerp(error_S, 1 - (1 - SHARE) ** near_S).log()

    def into(self, model: PreDiff, windows: tuple[Tensor, Tensor]) -> PreDiff:
        """The whole with this part learnt."""
        model.denoiser.load_state_dict(self.denoiser.state_dict())
        return model.eval()


class AlignmentTask(nn.Module):
    """The mean intensity of the frames behind noisy targets: squared error, frame by frame."""

    def __init__(self, model: PreDiff) -> None:
        super().__init__()
        self.in_len, self.out_len = model.in_len, model.out_len
        self.alignment = model.alignment

    def loss(self, context_BThwC: Tensor, target_BThwS: Tensor) -> Tensor:
        """Of latent windows (see `latent_window`); the context isn't looked at."""
        z, _, t_B, seen, intensity_BT = _unpack(target_BThwS)
        some_BT = (seen.mean(dim=(2, 3, 4)) > 0.5).to(z)
        answer_BT = self.alignment(z, t_B)[..., 0]
        some_BT = some_BT[:, -answer_BT.shape[1] :]
        error_BT = (answer_BT - intensity_BT[:, -answer_BT.shape[1] :]).square() * some_BT
        return error_BT.sum() / some_BT.sum().clamp(min=1)

    def into(self, model: PreDiff, windows: tuple[Tensor, Tensor]) -> PreDiff:
        """The whole with this part learnt."""
        model.alignment.load_state_dict(self.alignment.state_dict())
        return model.eval()
