"""The folder of one `evaluate` module; read through `textkd.tasks.metrics.load("text_classification", config_name)`."""
