"""Export for TensorRT: bundles, checks of the parser's rules, optimization profiles, engines."""
