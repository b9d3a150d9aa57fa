"""Virtual boards on pseudo-terminals, a virtual cloud, mutual TLS check-in and faults."""
