"""The command line: parse, wire the adapters together, call, render.

The only room that prints, asks and exits.
"""
