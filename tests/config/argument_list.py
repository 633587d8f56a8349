"""Every TrainingArgument: what shows that it is read, beside what it is read, or that it is refused."""

from __future__ import annotations

from typing import Any

Arguments = dict[str, Any]
# they make another optimizer or schedule: a value, and what it stands beside
MADE: dict[str, tuple[Any, Arguments]] = {
    "learning_rate": (0.5, {}),
    "optim": ("sgd", {}),
    "weight_decay": (0.5, {}),
    "adam_beta1": (0.5, {}),
    "adam_beta2": (0.5, {}),
    "adam_epsilon": (0.5, {}),
    "lr_scheduler_type": ("cosine", {}),
    "warmup_steps": (5, {}),
    "optim_args": ("momentum=0.5", {"optim": "sgd"}),
    "lr_scheduler_kwargs": ({"power": 2.0}, {"lr_scheduler_type": "polynomial"}),
}
# words of the code that reads them, by its file in transformers or textkd: known to be read
READ: dict[str, tuple[str, ...]] = {
    "transformers.trainer": (
        "per_device_train_batch_size", "num_train_epochs", "max_steps", "gradient_accumulation_steps", "max_grad_norm",
        "torch_compile", "use_liger_kernel", "use_cache", "neftune_noise_alpha", "torch_empty_cache_steps",
        "auto_find_batch_size", "include_num_input_tokens_seen", "report_to", "eval_on_start",
        "eval_use_gather_object", "enable_jit_checkpoint", "push_to_hub", "hub_token", "load_best_model_at_end",
        "ignore_data_skip", "full_determinism", "seed", "accelerator_config", "parallelism_config",
        "dataloader_drop_last", "dataloader_num_workers", "dataloader_pin_memory", "train_sampling_strategy",
        "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph", "fsdp", "debug",
        "deepspeed", "skip_memory_metrics", "output_dir",
    ),
    "transformers.trainer_callback": (
        "logging_strategy", "logging_first_step", "eval_strategy", "save_strategy",
    ),
    "transformers.training_args": (  # made into something else there: a precision, a device, a backend, who writes
        "bf16", "fp16", "tf32", "gradient_checkpointing", "activation_checkpointing", "torch_compile_backend",
        "torch_compile_mode", "log_on_each_node", "log_level", "log_level_replica", "per_device_eval_batch_size",
        "save_on_each_node", "use_cpu", "ddp_backend", "ddp_timeout",
    ),
}  # fmt: skip
STEPS, WORKERS, TRACKIO = {"eval_strategy": "steps"}, {"dataloader_num_workers": 1}, {"report_to": ["trackio"]}
BEST, HUB, USES_KERNEL = {"load_best_model_at_end": True}, {"push_to_hub": True}, {"use_liger_kernel": True}
AGAIN = {"gradient_checkpointing": True}
# read only beside another one: a value, and the other one
BESIDE: dict[str, tuple[Any, Arguments]] = {
    "eval_steps": (5, STEPS),
    "save_steps": (5, {"save_strategy": "steps"}),
    "logging_steps": (5, {"logging_strategy": "steps"}),
    "eval_delay": (5, STEPS),
    "eval_accumulation_steps": (5, STEPS),
    "save_total_limit": (5, {"save_strategy": "steps"}),
    "metric_for_best_model": ("accuracy", BEST),
    "greater_is_better": (False, BEST),
    "hub_model_id": ("a", HUB),
    "hub_strategy": ("end", HUB),
    "hub_private_repo": (True, HUB),
    "hub_always_push": (True, HUB),
    "hub_revision": ("a", HUB),
    "run_name": ("a", TRACKIO),
    "project": ("a", TRACKIO),
    "trackio_space_id": ("a", TRACKIO),
    "trackio_bucket_id": ("a", TRACKIO),
    "trackio_static_space_id": ("a", TRACKIO),
    "dataloader_persistent_workers": (True, WORKERS),
    "dataloader_prefetch_factor": (2, WORKERS),
    "dataloader_multiprocessing_context": ("spawn", WORKERS),
    "dataloader_in_order": (False, WORKERS),
    "liger_kernel_config": ({"rope": False}, USES_KERNEL),
    "fsdp_config": ({"version": 2}, {"fsdp": "full_shard"}),
    "gradient_checkpointing_kwargs": ({"use_reentrant": False}, AGAIN),
    "activation_checkpointing_kwargs": ({"use_reentrant": False}, AGAIN),
    "data_seed": (5, {"train_sampling_strategy": "random"}),
    "optim_target_modules": ("all-linear", {"optim": "galore_adamw"}),
}
# what takes the other one away, where the default has it
WITHOUT: dict[str, Arguments] = {
    "logging_steps": {"logging_strategy": "epoch"}, "data_seed": {"train_sampling_strategy": "sequential"},
    "eval_delay": {"eval_strategy": "no"}, "eval_accumulation_steps": {"eval_strategy": "no"},
    "save_total_limit": {"save_strategy": "no"},
}  # fmt: skip
# nothing reads them, or textkd sets them itself: another value than the default
REFUSED: dict[str, Any] = {
    "label_smoothing_factor": 0.1, "logging_nan_inf_filter": True, "prediction_loss_only": True,
    "eval_do_concat_batches": False, "batch_eval_metrics": True, "save_only_model": True,
    "restore_callback_states_from_checkpoint": True, "remove_unused_columns": True, "label_names": ["a"],
    "length_column_name": "a", "resume_from_checkpoint": "a",
    "do_train": True, "do_eval": True, "do_predict": True, "bf16_full_eval": True, "fp16_full_eval": True,
    "include_for_metrics": ["loss"], "average_tokens_across_devices": False, "disable_tqdm": True, "local_rank": 3,
}  # fmt: skip
