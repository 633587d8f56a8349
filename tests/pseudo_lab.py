"""What the tests of runs with pseudo labels share: sizes, lines of digits, the arguments of a short training."""

from typing import Any

SIZE = {"height": 16, "width": 64}
ENCODER: dict[str, Any] = {"image_size": [16, 64], "patch_size": [16, 8], "hidden_size": 8, "num_hidden_layers": 1,
           "num_attention_heads": 2, "intermediate_size": 8}  # fmt: skip
DECODER: dict[str, Any] = {"d_model": 8, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8,
           "max_position_embeddings": 16}  # fmt: skip
OWN: dict[str, Any] = {"digits": {"split": "train", "n": 16, "seed": 1, "digits": [1, 4], "height": 16}}
MORE: dict[str, Any] = {"digits": {"split": "train", "n": 24, "seed": 5, "digits": [1, 4], "height": 16}}
EVAL: dict[str, Any] = {"digits": {"split": "eval", "n": 6, "seed": 2, "digits": [1, 4], "height": 16}}
TRAINING: dict[str, Any] = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-3,
    "logging_steps": 1,
}
