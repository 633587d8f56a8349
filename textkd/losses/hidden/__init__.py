"""Losses on vectors of tokens [B,T,H] or samples [B,H].

vectors: their distance. overhaul, boundaries, neurons, feature_attention: the part of it that counts. variational,
factors, knowledge_projection, hashing: the distance in another space, which is learnt or drawn. pyramid: over pooled
tokens. maps, gradients: what is left when the width is summed up.
"""
