"""What every command reads alike: `--help`, `--config-dir DIR`, and words such as `key=value`."""

import argparse


def parser(command: str) -> argparse.ArgumentParser:
    """Return a parser of `help`, `config_dir` and `words`, for `parse_intermixed_args`; a command may add options."""
    made = argparse.ArgumentParser(prog=f"python -m {command}", add_help=False)
    made.add_argument("--help", "-h", action="store_true")
    made.add_argument("--config-dir", "-cd", metavar="DIR")
    made.add_argument("words", nargs="*", metavar="WORD")
    return made
