"""Losses that ask whether two vectors belong together: contrast with other samples, and discriminators of teacher and
student."""
