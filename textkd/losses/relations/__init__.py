"""Losses that compare how things lie to each other, not where they lie, so that widths may differ.

Samples: similarity, geometry, ranking, distributions. Tokens and their spans: granularity, flow. Channels and layers:
flow, singular, transport, layer_attention. parts: Gram matrices, distances, layers side by side.
"""
