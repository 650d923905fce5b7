"""Where money goes for nothing: unsuccessful calls, caches that are not read, conversations that grow."""
