"""`python -m textkd`, and `accelerate launch -m textkd run FILE` on several processes."""

from textkd.cli.app import main

main()
