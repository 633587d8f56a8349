"""What transformers and torch say when they refuse arguments of a training, and what helps."""

from __future__ import annotations

import re

USUAL = "correct it in training; transformers.TrainingArguments explains every argument"
MOST = 400  # letters of what a library says
# (what is said, what helps): groups of the first stand in the second
HELPS = tuple((re.compile(said), fix) for said, fix in (
    (r"requires the save and eval strategy to match",
     "give eval_strategy and save_strategy the same value, steps or epoch; or leave load_best_model_at_end out"),
    (r"saving steps to be a round multiple .* not a round multiple of (\d+)",
     r"save_steps: \1, or two, three, ... times as many"),
    (r"unexpected keyword argument '(\w+)'", r"take \1 out of the block, or choose what reads it"),
    (r"missing \d+ required positional arguments?: '(\w+)'", r"give it: lr_scheduler_kwargs: {\1: NUMBER}"),
    (r"One of min_lr or min_lr_rate should be set", "lr_scheduler_kwargs: {min_lr_rate: 0.1}"),
    (r"argument after \*\* must be a mapping", "write a block, as {num_cycles: 2}"),
    (r"num_workers > 0", "dataloader_num_workers: 2 beside it; or leave it out"),
    (r"(requires|need to install) .*install", "install it, or leave it out"),
))  # fmt: skip


def told(error: BaseException) -> tuple[str, str]:
    """What a library says of arguments that it refuses, in one line, and what to do.

    Args:
        error: that it raised.

    Returns:
        Both texts.

    Example:
        >>> told(TypeError("get_wsd_schedule() missing 1 required positional argument: 'num_decay_steps'"))[1]
        'give it: lr_scheduler_kwargs: {num_decay_steps: NUMBER}'
        >>> told(ValueError("no such thing"))[1] == USUAL
        True
    """
    whole = " ".join(str(error).split()) or type(error).__name__
    said = whole if len(whole) <= MOST else str(error).strip().split("\n")[0]
    for pattern, fix in HELPS:
        if found := pattern.search(whole):
            return said, found.expand(fix)
    return said, USUAL
