"""Losses on logits. Two ideas: what both sides' logits are turned into (softened by a temperature, standardised, mixed
with the label, cut to the largest k), and how the two results are compared (a divergence per row, a correlation). The
rows then come to one number by `softened.reduce_rows`.

softened: KL, cross entropy, MSE, BCE. divergences, decoupled, correlation, multilevel: other comparisons. standardised,
sparse, vocabularies, targets, temperatures, born_again, tolerant, detection: other targets. peers, branches, fusion:
several networks at once.
"""
