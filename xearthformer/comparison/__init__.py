"""Packs and rivals side by side: on your own data, as the papers do, or trained alike."""
