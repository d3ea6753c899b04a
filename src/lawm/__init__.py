"""Latent-Action World Models: learn to control from few action labels.

agent = lawm.load("runs/cheetah/2026-01-31_12-00-00")
action, state = agent.act(observation, state)
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lawm.saved_run import load as load


def __getattr__(name: str) -> Any:  # noqa: ANN401 (any attribute)
    """Import torch only when an agent is loaded: `lawm --help` needs none of it."""
    if name == "load":
        from lawm.saved_run import load

        return load
    raise AttributeError(f"module 'lawm' has no attribute '{name}'")


__all__ = ["__version__", "load"]
