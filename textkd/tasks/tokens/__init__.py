"""A tag for each word: entities, slots."""
