"""The command line: commands, and what `textkd ls` lists."""
