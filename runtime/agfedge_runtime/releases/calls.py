"""How functions are called from afar: arguments and answers are JSON, read strictly into the types that they declare.

Both sides have the same sources, of which one was sent by the other, so that what one writes the other can read.
"""

from __future__ import annotations

import dataclasses
import json
from importlib import import_module
from typing import Any, Callable, Dict, get_type_hints

from agfedge_runtime.errors import InputError
from agfedge_runtime.strict_json import Document

ANSWER = "answer"


def written(value: object) -> str:
    """Return the JSON of arguments or of an answer, dataclasses included."""
    return json.dumps(value, default=dataclasses.asdict)


def answer(module: str, name: str, arguments: Dict[str, object]) -> str:
    """Call a function with arguments as JSON has them.

    Args:
        module: full name of its module.
        name: of the function.
        arguments: by the names of its parameters.

    Returns:
        A JSON object whose key `ANSWER` holds what the function returned.

    Raises:
        InputError: an argument is not what the function declares.
    """
    function: Callable[..., object] = getattr(import_module(module), name)
    request = Document("the host's request", InputError, "deploy with one version on both sides")
    # Where there are none, hints that this Python cannot resolve do not matter.
    hints: Dict[str, Any] = get_type_hints(function) if arguments else {}
    values = {key: request.read(hints[key], value, key) for key, value in arguments.items()}
    return written({ANSWER: function(**values)})
