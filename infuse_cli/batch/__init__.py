"""Rows of a file into the cloud: many devices, no boards (`infuse batch register`).

One thread, the coordinator (`engine.py`), takes rows, decides and writes the journal; a pool
(`pool.py`) does nothing but HTTP. A row's intent is durable before its POST, its outcome before
anybody is told; both travel in one commit with those of its neighbours. `course.py` says what
follows on what, without I/O.
"""
