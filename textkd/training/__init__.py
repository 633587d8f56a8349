"""One training: transformers' Trainer, stages, checkpoints, what a step computes."""
