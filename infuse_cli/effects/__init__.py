"""Effects that several use cases share: each is written once, with the rules that make it safe."""
