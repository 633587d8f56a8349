"""Losses on attention: probabilities and scores of query-key pairs, query, key and value vectors, and the relations
that these vectors have with each other whatever their width."""
