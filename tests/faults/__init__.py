"""Faults that are really caused: killed servers, killed connections, locks, cancelled tasks."""
