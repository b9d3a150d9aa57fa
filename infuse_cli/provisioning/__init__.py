"""The way of a board: steps, the plan that orders them, the engine for one board and the fleet for
many.
"""
