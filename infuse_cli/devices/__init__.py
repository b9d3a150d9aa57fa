"""What is in the cloud: organisations, devices, registry, tokens, keys, RPC, reconcile."""
