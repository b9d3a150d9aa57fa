"""The product profile, bench.yaml and certificate profiles: models, readers, checks."""
