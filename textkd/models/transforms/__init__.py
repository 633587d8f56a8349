"""Other ways in which a model computes while it learns; its weights and their names stay as they are."""
