"""Why numbers changed: a change taken apart exactly, and the slices of calls that explain most of it."""
