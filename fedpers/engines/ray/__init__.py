"""The engine that runs clients in Ray's workers."""
