# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether any test notices a change: each is tried in a process of its own, which ends with the first test that fails.

A change within a function is put into the function, where the tests have been collected already, and only those run
that run its lines. What runs when a module is imported is changed before pytest imports it, and all tests run.
"""

import contextlib
import gc
import os
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NoReturn

import coverage
import pytest
from hypothesis import Phase, settings

from .changes import Mutant

_NOTICED, _UNNOTICED, _BROKEN = range(3)
#: A change that has the program use more CPU, and five times more than the tests did without it, is noticed, too.
_PATIENCE = 10.0
_FOR_EVER = 3600.0
_OPTIONS = (
    *("-q", "--exitfirst", "--capture=no", "--timeout=60", "-p", "no:cacheprovider", "--hypothesis-profile=mutants"),
    *("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"),  # hypothesis, here
)

settings.register_profile(
    "mutants", deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)


class Within:
    """The trials of changes within functions, as a plugin of pytest that runs tests in its own way."""

    def __init__(self, files: Sequence[Path], mutants: Sequence[Mutant]) -> None:
        self.unnoticed: list[Mutant] = []
        self._files = files
        self._mutants = mutants
        self._failed = False
        self._took: dict[str, float] = {}
        self._tests: dict[tuple[Path, int], set[str]] = defaultdict(set)  # that run this line

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Told by pytest."""
        self._failed = self._failed or report.failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Asked by pytest, in place of running each test once."""
        if session.testsfailed:
            return True
        self._measure(session.items)
        if self._failed:
            session.testsfailed = 1
            return True
        items = {item.nodeid: item for item in session.items}
        for mutant in self._mutants:
            # No test is seen to run what runs in a thread that is begun without threading.
            names = {name for line in mutant.lines for name in self._tests[mutant.file, line]} or items.keys()
            chosen = [items[name] for name in sorted(names, key=self._took.__getitem__)]
            limit = _PATIENCE + 5 * sum(self._took[name] for name in names)
            if not is_noticed(partial(self._try, mutant, chosen), limit):
                self.unnoticed.append(mutant)
        return True

    def _measure(self, items: Sequence[pytest.Item]) -> None:
        lines = coverage.Coverage(data_file=None, config_file=False, include=[str(file) for file in self._files])
        lines.start()
        for item, following in zip(items, [*items[1:], None], strict=True):
            lines.switch_context(item.nodeid)
            began = time.process_time()
            _run(item, following)
            self._took[item.nodeid] = time.process_time() - began
        lines.stop()
        for file in self._files:
            for line, names in lines.get_data().contexts_by_lineno(str(file.resolve())).items():
                self._tests[file, line].update(set(names) - {""})

    def _try(self, mutant: Mutant, items: Sequence[pytest.Item]) -> int:
        _put(mutant)
        with contextlib.suppress(OSError):  # of pytest itself: a change may close the descriptor that it writes on
            for item, following in zip(items, [*items[1:], None], strict=True) if items else ():
                _run(item, following)
                if self._failed:
                    return _NOTICED
            return _UNNOTICED
        return _NOTICED


def _run(item: pytest.Item, following: pytest.Item | None) -> None:
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _put(mutant: Mutant) -> None:
    """Give its functions the changed code, wherever they are referred to."""
    path = str(mutant.file.resolve())
    codes = dict(_functions(mutant.code))
    found = [each for each in gc.get_objects() if isinstance(each, FunctionType) and each.__code__.co_filename == path]
    for function in found:
        code = function.__code__
        if (code.co_qualname, code.co_firstlineno) in codes:
            function.__code__ = codes[code.co_qualname, code.co_firstlineno]


def _functions(code: CodeType) -> Iterator[tuple[tuple[str, int], CodeType]]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield (inner.co_qualname, inner.co_firstlineno), inner
            yield from _functions(inner)


def within(tests: Sequence[str], files: Sequence[Path], mutants: Sequence[Mutant]) -> list[Mutant]:
    """Those of the changes, each within a function, that no test notices."""
    plugin = Within(files, mutants)
    code = pytest.main([*_OPTIONS, *tests], plugins=[plugin])
    if code:
        raise RuntimeError(f"the tests fail, or cannot be run, without any change: {code}")
    return plugin.unnoticed


def patience(tests: Sequence[str]) -> float:
    """Seconds of CPU that the tests may use to notice a change at the import, by what they use without any."""
    before = _cpu_of_children()
    if is_noticed(lambda: _outcome(tests), _FOR_EVER):
        raise RuntimeError("the tests fail, or cannot be run, without any change")
    return _PATIENCE + 5 * (_cpu_of_children() - before)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _outcome(tests: Sequence[str]) -> int:
    code = pytest.main([*_OPTIONS, *tests])
    # 2 is of a test that cannot be imported, 4 of a conftest; without the change all can.
    return {0: _UNNOTICED, 1: _NOTICED, 2: _NOTICED, 4: _NOTICED}.get(code, _BROKEN)


def at_import(tests: Sequence[str], mutant: Mutant, limit: float) -> bool:
    """Whether a test notices a change of what runs when a module is imported."""

    class Changed(SourceFileLoader):
        def get_code(self, fullname: str) -> CodeType:
            return mutant.code

    class Finder(PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, *_: Any) -> ModuleSpec | None:
            if fullname != mutant.module:
                return None
            return spec_from_file_location(fullname, loader=Changed(fullname, str(mutant.file.resolve())))

    def attempt() -> int:
        sys.meta_path.insert(0, Finder)
        return _outcome(tests)

    return is_noticed(attempt, limit)


def is_noticed(attempt: Callable[[], int], limit: float) -> bool:
    """Whether it is, in a process of its own that may use so many seconds of CPU."""
    child = os.fork()
    if not child:
        _attempt(attempt, round(limit))
    outcome = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what a test had started goes, too
    if outcome not in (_NOTICED, _UNNOTICED, -signal.SIGXCPU):
        raise RuntimeError(f"a change could not be tried: {outcome}")
    return outcome != _UNNOTICED


def _attempt(attempt: Callable[[], int], limit: int) -> NoReturn:
    """Leave with what comes of it, quietly."""
    outcome = _BROKEN
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, sys.stdout.fileno())
        os.dup2(silence, sys.stderr.fileno())
        outcome = attempt()
    finally:
        os._exit(outcome)
