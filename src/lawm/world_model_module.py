"""Stage 1 as a LightningModule: the world model on a mixture of labelled and action-free data."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from torch import Tensor
from torchmetrics import R2Score

from lawm.batch import Batch
from lawm.decoded_actions import decoded_actions
from lawm.errors import LawmError
from lawm.optimizer import adamw, with_schedule
from lawm.rate_control import FixedRate, RateControl, TargetRate
from lawm.spec import DataSpec
from lawm.stage_module import StageModule
from lawm.world_model import Observed, WorldModel
from lawm.world_model_config import WorldModelConfig
from lawm.world_model_loss import (
    LossCoefficients,
    LossOptions,
    SourceTerms,
    term_factors,
    weighted_sum,
    world_model_terms,
)


@dataclass(frozen=True)
class RateConfig:
    """How the weight of the latent action's KL is set.

    Args:
        control: ``fixed`` keeps ``beta``; ``target`` holds the KL at ``target`` nats a step.
        beta: Weight of the KL, or where the dual variable starts.
        target: Wanted KL of u in nats a step, summed over its dimensions.
    """

    control: Literal["fixed", "target"] = "fixed"
    beta: float = 1.0
    target: float = 6.0

    def build(self) -> RateControl:
        """The rate control that this describes.

        Raises:
            LawmError: A dual variable in log beta cannot start at 0.
        """
        if self.control == "fixed":
            return FixedRate(self.beta)
        if self.beta <= 0.0:
            raise LawmError(
                f"world_model.rate.beta is {self.beta:g}, and with world_model.rate.control target "
                "it is where the weight starts, which moves by factors. Set it above 0, such as 1."
            )
        return TargetRate(self.target, initial_beta=self.beta)


class WorldModelModule(StageModule[Batch]):
    """Trains a :class:`~lawm.world_model.WorldModel`.

    Args:
        spec: The data set's shapes and units.
        model: Sizes and variants.
        coefficients: Weight of each loss term.
        options: How the terms are computed.
        rate: Weight of the latent action's KL.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW, on matrices alone.
        deviation_learning_rate: Of the learned standard deviations of the observations. Adam moves
            a parameter by about its learning rate a step, whatever the gradient: with that of the
            matrices they would stay far above the errors for the whole stage, and the model blind
            to what an action changes in one step.
        dual_learning_rate: Of the rate's dual variable, in log beta a step.
        warmup_steps: Updates over which the learning rate rises linearly.
        cooldown: Share of the stage's updates over which it falls at the end.
    """

    term_weights: Tensor

    def __init__(
        self,
        spec: DataSpec,
        model: WorldModelConfig = WorldModelConfig(),
        coefficients: LossCoefficients = LossCoefficients(),
        options: LossOptions = LossOptions(),
        rate: RateConfig = RateConfig(),
        learning_rate: float = 2e-3,
        weight_decay: float = 0.1,
        deviation_learning_rate: float = 1e-2,
        dual_learning_rate: float = 1e-2,
        warmup_steps: int = 100,
        cooldown: float = 0.4,
    ) -> None:
        super().__init__("world_model")
        own = inspect.signature(WorldModelModule.__init__).parameters
        self.save_hyperparameters(ignore=list(own))  # what a subclass takes beside them
        self.save_hyperparameters(
            {
                "spec": spec.to_dict(),
                "model": asdict(model),
                "coefficients": asdict(coefficients),
                "options": asdict(options),
                "rate": asdict(rate),
                "learning_rate": learning_rate,
                "weight_decay": weight_decay,
                "deviation_learning_rate": deviation_learning_rate,
                "dual_learning_rate": dual_learning_rate,
                "warmup_steps": warmup_steps,
                "cooldown": cooldown,
            }
        )
        self.model = WorldModel(spec, model)
        self.register_buffer("term_weights", coefficients.as_tensor(), persistent=False)
        if options.inverse_kl_gradient is None and rate.control == "target":
            options = replace(options, inverse_kl_gradient=1.0)  # or beta would hold q_act alone
        self.options = self.options_now = options
        self.rate_control = rate.build()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.deviation_learning_rate = deviation_learning_rate
        self.dual_learning_rate = dual_learning_rate
        self.warmup_steps = warmup_steps
        self.cooldown = cooldown
        self.r2_inverse = R2Score(multioutput="variance_weighted")
        self.r2_action = R2Score(multioutput="variance_weighted")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """What this update trains; here, for a compiled loss cannot ask which update it is."""
        del batch, batch_idx
        self.options_now = self.options.at(self.global_step)

    def compute_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch and every term of it by source."""
        # Filter the windows
        observed = self.model.observe(batch)
        options = self.options_now
        labelled, free = world_model_terms(self.model, batch, observed, options)

        # Weigh the terms of each source
        beta = self.rate_control.beta()
        factors = term_factors(self.model, batch, options)
        labelled_loss = weighted_sum(labelled, self.term_weights, beta, factors)
        free_loss = weighted_sum(free, self.term_weights, beta, factors)
        of_labelled, of_free = options.source_weights(batch)
        loss = of_labelled * labelled_loss + of_free * free_loss
        additions = self.additional_loss(batch, observed)
        loss = loss + sum(additions.values()) if additions else loss

        # Move the rate control's dual variable
        if self.model.transition_input.infers_actions:
            loss = loss + self.rate_control.dual_loss(mean_rate(batch, labelled, free))
        elif batch.num_labelled:  # no other row has a u, and a rate of none is no low one
            loss = loss + self.rate_control.dual_loss(labelled.latent_action_kl)

        logs = {f"labelled/{name}": value for name, value in labelled.as_dict().items()}
        if batch.num_rows > batch.num_labelled:
            logs |= {f"action_free/{name}": value for name, value in free.as_dict().items()}
        return loss, logs | additions | {"loss": loss, "beta": beta}

    def additional_loss(self, batch: Batch, observed: Observed) -> dict[str, Tensor]:
        """What a subclass adds to the loss of a batch, by the name under which it is logged.

        Args:
            batch: The windows, labelled rows first; of rewards there are R rows.
            observed: What the model makes of them, time first.

        Returns:
            Terms, each (), beside a loss that is a mean over rows; lawm's own module has none.
        """
        del batch, observed
        return {}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Losses and latent-action R^2 on held-out labelled windows."""
        del batch_idx
        observed = self.model.observe(batch)
        terms, _ = world_model_terms(self.model, batch, observed, self.options)
        values = {f"held_out/{name}": value for name, value in terms.as_dict().items()}
        self.log_dict(values, batch_size=batch.num_rows, sync_dist=True)
        target = batch.action.transpose(0, 1).flatten(0, 1)
        free = self.model.observe(batch.action_free())
        inverse, action = decoded_actions(self.model, observed, free)
        self.r2_inverse.update(inverse.flatten(0, 1), target)
        self.r2_action.update(action.flatten(0, 1), target)
        self.log("held_out/action_r2_inverse", self.r2_inverse, batch_size=batch.num_rows)
        self.log("held_out/action_r2_action", self.r2_action, batch_size=batch.num_rows)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 (Lightning's union is private)
        """AdamW with decay on the matrices alone; deviations and dual variable have own rates.

        What a subclass adds is trained as the model is.
        """
        rates = (
            (self.model.observation_decoder.deviations(), self.deviation_learning_rate),
            (list(self.rate_control.parameters()), self.dual_learning_rate),
        )
        groups = [{"params": p, "weight_decay": 0.0, "lr": rate} for p, rate in rates if p]
        optimizer = adamw(self, self.learning_rate, self.weight_decay, *groups)
        total = self.trainer.max_steps if self._trainer is not None else -1
        return with_schedule(
            optimizer, total, warmup_steps=self.warmup_steps, cooldown=self.cooldown
        )


def mean_rate(batch: Batch, labelled: SourceTerms, free: SourceTerms) -> Tensor:
    """KL of u in nats a step, over all rows."""
    share = batch.num_labelled / batch.num_rows
    return share * labelled.latent_action_kl + (1.0 - share) * free.latent_action_kl


__all__ = ["RateConfig", "WorldModelModule"]
