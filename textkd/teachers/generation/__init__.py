"""Texts that a teacher writes, from images of lines, and what a student learns of them."""
