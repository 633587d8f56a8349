"""What is trained from what, in which order, and what is told of it."""
