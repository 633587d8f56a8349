"""Models: loading them, reading taps out of them, making students of them."""
