"""The only file that knows transformers' Trainer: a thin mixin that computes the objective, and safe checkpoints."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from textkd.errors import TextkdError, fail
from textkd.models.files import saving
from textkd.models.sums import write_sums
from textkd.training import fsdp, several
from textkd.training.callbacks import Boundaries, Epochs
from textkd.training.checkpoints import last_checkpoint, refuse_lost
from textkd.training.cpu_attention import bf16_attention
from textkd.training.ema import Average
from textkd.training.eval_loss import EvalLoss
from textkd.training.loss_log import LossRecord
from textkd.training.sampler import by_length
from textkd.training.wiring import Wiring

TOGETHER, IN_TURN = UPDATES = ("together", "in_turn")


class DistilMixin(Trainer):  # type: ignore[misc]
    """Trainer whose loss is an `Objective` over the taps of named models; some learn, the others are only read.

    One model that learns stays a PreTrainedModel with inert hooks (`Capture`), so saving, resuming and generation are
    Trainer's own; several are one `Together`. Evaluation never runs a teacher. Named parts stay on the device until
    Trainer logs their means over steps and processes.

    Args:
        wiring: what a step computes.
        generate: writes the answers of a batch, where they are texts.
        average: of the weights, where the training ends in one.
        update: "together": all models step on one forward. "in_turn": each steps on predictions that are made anew
            after the step of the one before it (Zhang et al. 2018, arXiv:1706.00384, algorithm 1).
    """

    # our loss is the mean of one micro-batch; BERT's **kwargs would make Trainer believe it is scaled already
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        *args: Any,
        wiring: Wiring,
        generate: Callable[[nn.Module, dict[str, Tensor]], Tensor] | None = None,
        average: Average | None = None,
        update: str = TOGETHER,
        callbacks: Sequence[Any] = (),
        **kwargs: Any,
    ) -> None:
        self.record = LossRecord()
        own = [Epochs(kwargs.get("train_dataset")), *([] if average is None else [average])]
        super().__init__(*args, callbacks=[Boundaries(), *own, self.record, *callbacks], **kwargs)
        self.generate, self.average = generate, average
        self.model_accepts_loss_kwargs = False
        self.wiring, self.objective, self.models = wiring, wiring.objective, wiring.learners.models
        self.turns = [self.objective] if update == TOGETHER else self.objective.by_source(list(self.models))
        if self.is_several:
            gradient = any(pair.target_gradient for pair in self.objective.pairs)
            accumulated, compiled = self.args.gradient_accumulation_steps, self.args.torch_compile
            wrong = several.problems(len(self.turns) > 1, accumulated, self.is_fsdp_enabled, gradient, compiled)
            if wrong:
                raise TextkdError(*wrong)
        for capture in wiring.learners.captures.values():
            if self.args.torch_compile:
                capture.for_compiled()
            if self.is_fsdp_enabled:
                capture.for_sharded()
        if self.is_fsdp_enabled:
            fsdp.by_block(self.accelerator, self.model)
        self._is_bf16_on_cpu = self.args.bf16 and self.args.device.type == "cpu" and not self.args.torch_compile
        self._expected: Tensor | None = None
        self._told: list[tuple[Tensor, dict[str, Tensor]]] = []  # of the turns of this step
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)

    @property
    def is_several(self) -> bool:
        """Whether several models learn."""
        return len(self.models) > 1

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        self.is_fsdp_enabled = fsdp.settle(self.accelerator, self.args)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], None]:
        """The micro-batches of one step, and (for the objective) the mean items per micro-batch over all ranks."""
        self._expected = None
        self.record.begin_step()
        if self.state.global_step >= self.state.max_steps:
            return [], None  # resumed from the very last step: Trainer itself would train one more
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if batches and (len(batches) > 1 or self.args.world_size > 1):
            items = torch.stack([self.objective.items(batch) for batch in batches]).mean(0).to(device)
            self._expected = self._mean_over_processes(items)
            if lengths := [one for batch in batches if (one := self.objective.lengths(batch)) is not None]:
                self._expected *= self.accelerator.gather(torch.stack(lengths).amax(0)[None].to(device)).amax(0)
        return batches, None

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> None:
        return None  # the objective counts its own items

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Trainer's own, once for each turn. The step of the last turn is made in Trainer's loop."""
        whole, lost = self._expected, list[Tensor]()
        for number, objective in enumerate(self.turns):
            self.wiring.objective = objective
            if whole is not None and len(self.turns) > 1:
                self._expected = whole[[self.objective.pairs.index(pair) for pair in objective.pairs]]
            lost.append(super().training_step(model, inputs, num_items_in_batch))
            if number < len(self.turns) - 1:
                if self.args.max_grad_norm > 0:
                    self._clip_grad_norm(model)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
        totals, parts = zip(*self._told, strict=True)
        self._told, self._expected, self.wiring.objective = [], whole, self.objective
        self.record.add(torch.stack(totals).sum(), ChainMap(*parts), self.current_gradient_accumulation_steps)
        return torch.stack(lost).sum()

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if not model.training:
            loss, outputs = self._evaluated(self.wiring.learners.evaluate(model, inputs))
            return (loss, outputs) if return_outputs else loss
        if self.is_fsdp_enabled:
            fsdp.send_buffers(self.model)
        progress = self.state.global_step / max(self.state.max_steps, 1)
        plain = bf16_attention(self.models, inputs) if self._is_bf16_on_cpu else nullcontext()
        total, parts, outputs = self.wiring.loss(model, inputs, progress, self._expected, plain)
        self._told.append((total.detach(), parts))
        return (total, outputs) if return_outputs else total

    def _evaluated(self, outputs: dict[str, Any]) -> tuple[Tensor, Any]:
        """Loss and outputs as Trainer expects them; of several models the mean loss, and the logits of each."""
        if not self.is_several:
            (one,) = outputs.values()
            return one["loss"], one
        loss = torch.stack([one["loss"] for one in outputs.values()]).mean()
        return loss, {"loss": loss, **{name: one["logits"] for name, one in outputs.items()}}

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # none are counted: Trainer would walk through all parameters in every step, and leave the teacher out

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's own, of the averaged weights where there are such."""
        with nullcontext() if self.average is None else self.average.applied():
            return super().evaluate(*args, **kwargs)

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> Any:
        """Trainer's own; where the task's answers are generated, their ids stand in place of the logits."""
        inputs = self._prepare_inputs(inputs)
        if self.generate is None:
            loss, said, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        else:
            loss = self._loss_of(model, inputs)
            with torch.no_grad():
                texts = [self.generate(one, inputs) for one in self.models.values()]
            said, labels = tuple(texts) if self.is_several else texts[0], inputs["labels"]
        self._lost.add(loss, inputs, partial(self._loss_of, model))
        return loss, said, labels

    def _loss_of(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, inputs).detach()  # type: ignore[no-any-return]

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's own, with the mean loss of the rows themselves."""
        self._lost = EvalLoss(self.accelerator)
        found = super().evaluation_loop(*args, **kwargs)
        self._lost.put(found.metrics, f"{kwargs.get('metric_key_prefix', 'eval')}_loss")
        return found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        rows = self._rows() if "loss" in logs else None
        if rows is not None:
            logs.update(zip(("loss", *self.record.names), rows.mean(0).tolist(), strict=True))
            self.record.clear()
        super().log(logs, start_time)

    def keep_events(self, folder: Path) -> None:
        """TensorBoard's files go to `folder`; Trainer would put them beside the checkpoints, which do not stay."""
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
                callback.logging_dir = str(folder)

    def seconds(self) -> float:
        """Training seconds so far, those before a resume counted in."""
        return self.record.seconds()

    def refuse_not_finite(self) -> None:
        """Raises `TextkdError` if a loss since the last log, or a weight, is not finite."""
        self._rows()
        good = fsdp.all_finite(self.model.parameters())
        if not bool(self._mean_over_processes(good) == 1):
            raise self._not_finite(self.state.global_step, "the weights are not finite")

    def _rows(self) -> Tensor | None:
        """The recorded steps, averaged over processes; a step that is not finite ends the run on all of them."""
        rows = self.record.rows(self._mean_over_processes)
        if rows is not None and (bad := self.record.not_finite(rows)):
            step = self.state.global_step - len(rows) + 1 + bad[0]
            raise self._not_finite(step, f"the loss is not finite; parts: {', '.join(bad[1]) or 'their weighted sum'}")
        return rows

    def _mean_over_processes(self, value: Tensor) -> Tensor:
        return self.accelerator.reduce(value, "mean") if self.args.world_size > 1 else value

    def _not_finite(self, step: int, found: str) -> Exception:
        last = last_checkpoint(self.args.output_dir) or "none yet"
        fix = f"lower the learning rate or the part's weight, or train in float32; last good checkpoint: {last}"
        return fail(f"step {step} of {self.state.max_steps}", found, fix=fix)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        data = self.train_dataset if train_dataset is None else train_dataset
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return by_length(data, self.args, size, lambda: int(self.state.epoch or 0))

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_eval_sampler(eval_dataset)
        return by_length(eval_dataset, self.args, self.args.eval_batch_size, lambda: 0)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Trainer's checkpoint; a failed one is removed, and weights that are not finite are never saved."""
        self.refuse_not_finite()
        self.record.prepare(self._rows())
        kept = partial(last_checkpoint, self.args.output_dir)
        with saving(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}", kept):
            super()._save_checkpoint(model, trial)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Trainer's own; of a student in shards, the whole. A checkpoint holds the shards instead."""
        if not self.is_fsdp_enabled or _internal_call:
            super().save_model(output_dir, _internal_call)
        else:
            weights = self.accelerator.get_state_dict(self.model)
            self._save(output_dir, state_dict=fsdp.whole(weights))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.is_several:  # a raw state dict of all would not keep what they share, and no model could be loaded
            if self.args.should_save:
                several.save(self.models, Path(output_dir or self.args.output_dir))
            return
        # in the hub's older names, save_pretrained's default, Trainer would load a ViT encoder's checkpoint not at all
        self.model.save_pretrained = partial(self.model.save_pretrained, save_original_format=False)
        try:
            super()._save(output_dir, state_dict)
        finally:
            del self.model.save_pretrained

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self._load_ours(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if not self._load_ours(str(self.state.best_model_checkpoint)):
            super()._load_best_model()

    def _load_ours(self, folder: str) -> bool:
        return several.load(self.models, Path(folder), self.is_several, self.is_fsdp_enabled)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Trainer's own; several models are clipped each by its own norm, as if each had an optimizer to itself."""
        if not self.is_several:
            return super()._clip_grad_norm(model)
        self.accelerator.unscale_gradients()  # once: a second time, as Accelerate's own clipping would, is an error
        norms = [nn.utils.clip_grad_norm_(one.parameters(), self.args.max_grad_norm) for one in self.models.values()]
        return torch.stack(norms).norm()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        refuse_lost(self.model, load_result, "a checkpoint")

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self.average is not None:
            self.average.save(Path(output_dir), self.args.should_save)
        self.accelerator.wait_for_everyone()  # the state, written next, says that everything of every process is there
        write_sums(Path(output_dir), self.args.should_save)


class DistilTrainer(DistilMixin, Trainer):  # type: ignore[misc]
    """`DistilMixin` on transformers' Trainer."""
