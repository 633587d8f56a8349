"""Runs an exported folder with onnxruntime, numpy and tokenizers alone: nothing in here imports torch."""
