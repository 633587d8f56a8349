"""Models as ONNX files: written, quantised, opened. What opens them needs no torch."""
