"""What is compared with what: matches, the taps that they name, and the objective of a step."""
