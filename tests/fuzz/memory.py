# SPDX-License-Identifier: LGPL-2.1-or-later
"""State files: what is recalled is what the daemon works with, all of it; what is not is dropped, and said."""

import tempfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from idled.state import State

BOOT = "b0-0t"


class NotRecalled(Exception):
    """Dropped, and said."""


def state_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="idled-fuzz-") as folder:
        file, state = Path(folder) / "one.json", State(Path(folder))
        file.write_bytes(data)
        (found,) = state.recall(BOOT)
        if isinstance(found, str):
            assert found.isprintable() and not file.exists()
            raise NotRecalled(found)
        memory, handle = found
        assert memory.session.id.boot == BOOT
        assert_is(memory, type(memory))
        assert_is(handle, type(handle))
        file.unlink()
        state.remember(memory, handle)
        assert list(state.recall(BOOT)) == [found]


def assert_is(value: Any, kind: Any) -> None:
    """That a value is what the annotations of its class say, all the way down."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        kinds = [one for one in inside if isinstance(value, get_origin(one) or one)]
        assert kinds, (value, kind)
        assert_is(value, kinds[0])
    elif origin in (tuple, frozenset):
        assert type(value) is origin, (value, kind)
        for item in value:
            assert_is(item, inside[0])
    elif is_dataclass(kind):
        assert type(value) is kind, (value, kind)
        hints: Mapping[str, Any] = get_type_hints(kind)
        for field in fields(kind):
            assert_is(getattr(value, field.name), hints[field.name])
    elif isinstance(kind, type) and issubclass(kind, Path | Enum):
        assert isinstance(value, kind), (value, kind)
    else:
        assert type(value) is kind, (value, kind)
