"""What several papers build on, one idea a file. Papers import parts, never each other."""
