"""What is recorded is there in the end, whatever happens to the process, the disk and the database meanwhile."""
