"""What a checkpoint of stage 2 holds: neither the world model nor what is made again from it."""

from __future__ import annotations

from typing import Any

from lawm.continued_starts import ContinuedStarts
from lawm.dynamics_ensemble import DynamicsEnsemble
from lawm.prior_weight import PriorWeight
from lawm.ranks import of_all_ranks, of_this_rank
from lawm.rssm import ModelState
from lawm.stage_module import StageModule
from lawm.world_model import WorldModel

CONTINUED_KEY = "continued_starts"  # in a checkpoint
_LEFT_OUT = ("world_model.", "ensemble.")
_PRIOR = "world_model.latent_action.prior_network."


class PolicyCheckpoint(StageModule[ModelState]):
    """Of a module with these parts."""

    world_model: WorldModel  # frozen, with a checkpoint of its own
    ensemble: DynamicsEnsemble | None  # trained anew when a stage goes on, to the same weights
    prior_weight: PriorWeight
    advantage_temperature: float | None
    continued: ContinuedStarts

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # noqa: ANN401
        """Without the frozen world model, which has a checkpoint of its own, and the ensemble.

        A prior that was trained for the policy is a part of it.
        """
        state = super().state_dict(*args, **kwargs)
        kept = {k: v for k, v in state.items() if not k.startswith(_LEFT_OUT)}
        if self.advantage_temperature is not None:
            kept |= {k: v for k, v in state.items() if k.startswith(_PRIOR)}
        return kept

    def load_state_dict(
        self,
        state_dict: Any,  # noqa: ANN401
        strict: bool = True,
        assign: bool = False,
    ) -> Any:  # noqa: ANN401
        """Restores actor, critic, target and scales; the world model stays as it is.

        A policy of before the prior's weight could fall has none: it is the greatest then.
        """
        parts = {"world_model": self.world_model, "prior_weight": self.prior_weight}
        parts |= {"ensemble": self.ensemble} if self.ensemble is not None else {}
        own = {
            f"{name}.{k}": v for name, part in parts.items() for k, v in part.state_dict().items()
        }
        return super().load_state_dict({**own, **state_dict}, strict=strict, assign=assign)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save where the rollouts of every process ended; a collective call."""
        checkpoint[CONTINUED_KEY] = {
            name: of_all_ranks(self.trainer, value).cpu()
            for name, value in self.continued.state_dict().items()
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let them go on; continued by another number of processes, they begin anew."""
        if self._trainer is None:
            return
        rows = {
            name: of_this_rank(self.trainer, values)
            for name, values in checkpoint.get(CONTINUED_KEY, {}).items()
        }
        self.continued.load_state_dict({k: row for k, row in rows.items() if row is not None})


__all__ = ["CONTINUED_KEY", "PolicyCheckpoint"]
