"""Earthformer (Gao et al., 2022), its use on advected rain, and its fused form for inference."""
