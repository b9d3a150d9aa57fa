"""Serial ports: find them, open them exclusively, pump conversations with deadlines, notice an
unplug.
"""
