"""Whether it is all here: what is missing, what a provider billed, and limits that must not be passed."""
