"""From a YAML file to an experiment: the text of a recipe, its keys and types, presets."""
