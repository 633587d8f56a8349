"""textkd's taps, objective and teacher inside your own loop: plain Accelerate, no Trainer.

    python recipes/plain_loop.py TEACHER_FOLDER TRAIN.tsv     (one process)
    accelerate launch recipes/plain_loop.py TEACHER_FOLDER TRAIN.tsv

The TSV has the columns sentence and label, as SST-2's. The teacher is a folder that is fine-tuned on the task.
"""

import sys

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from textkd import Match, shrink, tasks, wire
from textkd.models.forward import forward_inputs
from textkd.objective import projections

teacher_folder, train_file, out = *sys.argv[1:3], "plain_loop_student"
accelerator = Accelerator()
tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
teacher = AutoModelForSequenceClassification.from_pretrained(teacher_folder).to(accelerator.device)
student = shrink(teacher, layers="uniform", n_layers=teacher.config.num_hidden_layers // 2)
student.to(accelerator.device).train()

task = tasks.glue("sst2").with_file(train_file)
rows = task.encode(tokenizer, "eval", forward_inputs(student) | forward_inputs(teacher), max_length=128)
loader = DataLoader(rows, batch_size=32, shuffle=True, collate_fn=task.collator(tokenizer))
matches = [
    Match("labels", weight=0.1),
    Match("logits", loss="kl", temperature=4.0, weight=0.9),
    Match("hidden", loss="mse", layers="uniform"),
]
wired = wire(student, teacher, matches, next(iter(loader)))

optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)  # after wire: projections are the student's parameters
model, optimizer, loader = accelerator.prepare(student, optimizer, loader)
for step, batch in enumerate(loader):
    loss, parts, _ = wired.loss(model, batch, step / len(loader))  # the wrapped model: DDP sees every parameter
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if step % 50 == 0:
        accelerator.print(step, {name: round(value.item(), 4) for name, value in parts.items()})
wired.close()
projections.detach(student)
accelerator.unwrap_model(model).save_pretrained(out, is_main_process=accelerator.is_main_process)
