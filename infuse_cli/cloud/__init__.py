"""Typed clients of the Infuse IoT API and the device registry; one file imports httpx.

`build.connect` and `build.connect_registry` make them; nothing is imported here, so that naming the
room costs nothing at start-up.
"""
