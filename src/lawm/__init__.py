"""Latent-Action World Models: learn to control from few action labels.

agent = lawm.load("runs/cheetah/2026-01-31_12-00-00")
action, state = agent.act(observation, state)

world_model = lawm.load_world_model("runs/cheetah/2026-01-31_12-00-00")
actions = world_model.infer_actions(observations)
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lawm.saved_run import load as load
    from lawm.trained_world_model import load_world_model as load_world_model


def __getattr__(name: str) -> Any:  # noqa: ANN401 (any attribute)
    """Import torch only when something trained is loaded: `lawm --help` needs none of it."""
    if name == "load":
        from lawm.saved_run import load

        return load
    if name == "load_world_model":
        from lawm.trained_world_model import load_world_model

        return load_world_model
    raise AttributeError(f"module 'lawm' has no attribute '{name}'")


__all__ = ["__version__", "load", "load_world_model"]
