"""Latent-Action World Models: learn to control from few action labels."""

__version__ = "0.1.0"

__all__ = ["__version__"]
