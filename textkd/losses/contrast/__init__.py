"""Losses that ask whether two vectors belong together: contrast with other samples, discriminators of teacher and student."""
