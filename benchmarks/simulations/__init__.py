"""Made-up users, encoders and raw files whose truth is known, for benchmarks and tests."""
