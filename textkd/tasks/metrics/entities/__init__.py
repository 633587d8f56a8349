"""The folder of one `evaluate` module; read through `textkd.tasks.metrics.load("entities")`."""
