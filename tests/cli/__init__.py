"""The program `mofa-usage`, run as a user runs it: what it prints, what it writes and how it ends."""
