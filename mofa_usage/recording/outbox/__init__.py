"""Where accepted records wait until they are delivered, so that nothing accepted is lost: on disk, or in memory.

| module | what |
|---|---|
| `backlog.py` | what waits in one process, and what becomes of it; the one in memory |
| `segments.py` | the one in files: written by its process, read by whoever delivers |
| `frames.py` | how a document lies in such a file |
| `folder.py` | the folder of all processes: who is alive, what was left, what is dead, and the proof by counting |
| `accounts.py` | up to where a process's files are settled |
| `locks.py` | who may write what |
"""
