"""The steps, one file each; their order is in `provisioning/plan.py`.

The first paragraph of a step's file, after its name, is its row in
`docs/explanation/order-of-a-board.md`.
"""
