"""What the program did at commit dadc716, kept as data, and tests that hold today's program to it.

`data/` was made by `make.py` and is never made anew or edited; `renames.py` is the only place that
allows a difference. The keys and secrets in `data/` were made for it and open nothing else.
"""
