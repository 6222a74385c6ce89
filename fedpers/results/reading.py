"""Reading the JSON files of a run, whoever has had their hands in them."""

import json
from pathlib import Path
from typing import Any

from fedpers.errors import UserError


def read_object(path: Path, missing: str, needs: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Args:
        path: The file.
        missing: What it means that there is no such file.
        needs: Keys without which it is not the file that it should be.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {missing}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (it holds a {type(content).__name__}, not an object)")
    for key in needs:
        if key not in content:
            raise UserError(f"{path} is damaged (it has no {key!r})")
    return content
