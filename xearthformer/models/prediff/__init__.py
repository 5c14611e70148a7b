"""PreDiff (Gao et al., 2023): latent diffusion, its samplers, and knowledge alignment."""
