"""The steps, one file each; their order is the plan's business (`pipeline/plan.py`)."""
