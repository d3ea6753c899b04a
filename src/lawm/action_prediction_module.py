"""Supervised learning of actions as a LightningModule: inverse dynamics, or behaviour cloning."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor
from torchmetrics import R2Score

from lawm.action_predictor import ActionPredictor, ActionPredictorConfig, ClonedAgent
from lawm.batch import Batch
from lawm.optimizer import adamw, with_schedule
from lawm.spec import DataSpec
from lawm.stage_module import StageModule


class ActionPredictionModule(StageModule[Batch]):
    """Trains an :class:`~lawm.action_predictor.ActionPredictor` on the labelled windows.

    Args:
        spec: The data set's shapes and units.
        model: Sizes, and the observations that are read.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW, on matrices alone.
        warmup_steps: Updates over which the learning rate rises linearly.
        cooldown: Share of the stage's updates over which it falls at the end.
        stage: Under which name it logs.
    """

    def __init__(
        self,
        spec: DataSpec,
        model: ActionPredictorConfig = ActionPredictorConfig(),
        learning_rate: float = 4e-4,
        weight_decay: float = 1e-2,
        warmup_steps: int = 100,
        cooldown: float = 0.4,
        stage: str = "policy",
    ) -> None:
        super().__init__(stage)
        self.save_hyperparameters(
            {
                "spec": spec.to_dict(),
                "model": asdict(model),
                "learning_rate": learning_rate,
                "weight_decay": weight_decay,
                "warmup_steps": warmup_steps,
                "cooldown": cooldown,
                "stage": stage,
            }
        )
        self.model = ActionPredictor(spec, model)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.warmup_steps, self.cooldown = warmup_steps, cooldown
        self.r2 = R2Score(multioutput="variance_weighted")

    def compute_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the labelled rows' actions, summed over A; zero if there are none."""
        num = batch.num_labelled
        predicted = self.model({key: value[:num] for key, value in batch.obs.items()}).float()
        error = (predicted - batch.action).square().sum(dim=-1)
        loss = 0.5 * error.sum() / max(error.numel(), 1)
        return loss, {"loss": loss}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and R^2 on held-out labelled windows."""
        del batch_idx
        loss, _ = self.compute_loss(batch)
        self.log("held_out/action_loss", loss, batch_size=batch.num_rows, sync_dist=True)
        self.r2.update(self.model(batch.obs).float().flatten(0, 1), batch.action.flatten(0, 1))
        self.log("held_out/action_r2", self.r2, batch_size=batch.num_rows)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's union is private)
        """AdamW with decay on the matrices alone."""
        optimizer = adamw(self.model, self.learning_rate, self.weight_decay)
        total = self.trainer.max_steps if self._trainer is not None else -1
        return with_schedule(
            optimizer, total, warmup_steps=self.warmup_steps, cooldown=self.cooldown
        )

    def agent(self) -> ClonedAgent:
        """The policy as it is now, sharing weights, for evaluation in an environment."""
        return ClonedAgent(self.model)


__all__ = ["ActionPredictionModule"]
