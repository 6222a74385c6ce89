"""The configuration: its keys, how it is composed and turned into objects, its help."""
