# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the load bench found, as markdown and as a plot."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .lateness import DEBIAN
from .measures import DUE, LIMIT, PAUSE, RUNS, SHORT, WARNED, WINDOW, YOUNG, Samples
from .plot import fit, plot
from .sessions import USERS

Found = Mapping[str, Samples]

#: Seconds from a key to a look at a random moment, in the mean, where pauses are uniform up to twice PAUSE.
_SINCE_KEY: Final = 2 * PAUSE / 3
#: One look is due for each of these many seconds of a session in which somebody types: with LIMIT and no warnings, and
#: with 15 minutes, where the longest silence that was seen of it is sooner over than the limit.
_LOOK_EVERY: Final = LIMIT - _SINCE_KEY
_LOOK_EVERY_15_MIN: Final = YOUNG


@dataclass(frozen=True)
class Row:
    """A quantity as it is shown: its samples' name, what it is called, by how much they are multiplied, its digits."""

    name: str
    title: str
    factor: float = 1
    digits: int = 2


ROWS: Final = (
    Row("idle cpu", "nobody types: CPU seconds an hour"),
    Row("idle wakeups", "nobody types: wakeups an hour", digits=0),
    Row("typing cpu", f"everybody types, limit {LIMIT} s: CPU seconds an hour"),
    Row("typing wakeups", f"everybody types, limit {LIMIT} s: wakeups an hour", digits=0),
    Row("typing cpu, 15 min", "everybody types, limit 15 min, reckoned: CPU seconds an hour"),
    Row("warned cpu", "everybody is warned: share of one core"),
    Row("rss", "RSS, MB", 1 / 1024, 1),
    Row("start", "start, sessions remembered, to enforcing: s"),
    Row("start anew", "start, nothing remembered, to enforcing: s"),
    Row("last late", "all due at once: the last one is cut off, s after the limit"),
    Row("last gone", "all due at once: nothing is left of any, s after the limit"),
    Row("late", "all due at once: each is cut off, s after the limit"),
    Row("gone", "all due at once: nothing is left of each, s after the limit"),
    Row("one end", "one of N is ended: idlectl to cut off, s"),
    Row("one end cpu", "one of N is ended: CPU, ms", 1000, 1),
    Row("list wall", "`idlectl list`: s"),
    Row("list cpu", "`idlectl list`: its CPU, s"),
    Row("list daemon", "`idlectl list`: the daemon's CPU, s"),
    Row("login up", "a login (the module alone), daemon up: ms", 1e-3),
    Row("login hung", "a login, daemon hung: ms", 1e-3),
    Row("login down", "a login, daemon down: ms", 1e-3),
    Row("login nothing", "a login with a module that does nothing: ms", 1e-3),
    Row("opening", "to open one session here, s"),
    Row("logind idle cpu", "systemd-logind, nobody types: CPU seconds an hour"),
    Row("logind idle wakeups", "systemd-logind, nobody types: wakeups an hour", digits=0),
    Row("logind typing cpu", f"systemd-logind, everybody types, limit {LIMIT} s: CPU seconds an hour"),
    Row("logind typing wakeups", f"systemd-logind, everybody types, limit {LIMIT} s: wakeups an hour", digits=0),
    Row("autolog cpu", "autolog: CPU seconds to start and look once"),
)
CORE_ROWS: Final = (
    Row("hour", "an hour of typing, limit 15 min: CPU seconds"),
    Row("one", "one of N is ended: CPU, ms", 1000, 3),
    Row("all", "all are ended at once: CPU seconds"),
)
#: What is fitted and drawn.
GROWTH: Final = (
    "typing cpu, 15 min",
    "warned cpu",
    "start",
    "start anew",
    "last gone",
    "one end cpu",
    "list wall",
)
#: What comes once in five windows weighs as much in the mean, and nothing in the median.
_BY_MEAN: Final = ("idle", "typing", "logind")


def value(samples: Mapping[int, list[float]], name: str, size: int) -> float:
    """The one number that stands for the samples."""
    return (statistics.mean if name.startswith(_BY_MEAN) else statistics.median)(samples[size])


def report(found: Found, core: Samples, *, cores: int, kernel: str) -> tuple[str, str]:
    """The markdown and the SVG."""
    for samples in found.values():
        samples["typing cpu, 15 min"] = _reckoned(samples)
    text = "\n".join(_text(found, core, cores, kernel.split("-")[0]))
    return text, plot("What N sessions cost idled", "seconds", _lines(found))


def _reckoned(samples: Samples) -> dict[int, list[float]]:
    """What typing costs with 15 min: looks are rarer by a known factor, all else is what it is while nobody types."""
    idle, typing = samples["idle cpu"], samples["typing cpu"]
    share = _LOOK_EVERY / _LOOK_EVERY_15_MIN
    return {
        size: [
            statistics.mean(idle[size]) + max(0.0, statistics.mean(typing[size]) - statistics.mean(idle[size])) * share
        ]
        for size in typing
    }


def _lines(found: Found) -> dict[str, dict[int, float]]:
    """Of the newest release."""
    release, samples = list(found.items())[-1]
    titles = {row.name: row.title.partition(":")[0] for row in ROWS}
    names = {
        "typing cpu, 15 min": "CPU an hour, typing, 15 min",
        "warned cpu": "CPU a second, all warned",
        "start": "start to enforcing",
        "start anew": "start, nothing remembered",
        "last gone": "all due at once: gone",
        "one end cpu": "CPU to end one",
        "list wall": "idlectl list",
    }
    return {
        names.get(name, titles[name]): {size: value(samples[name], name, size) for size in samples[name] if size}
        for name in GROWTH
    }


def _text(found: Found, core: Samples, cores: int, kernel: str) -> Iterator[str]:
    yield HEAD.format(cores=cores, kernel=kernel)
    yield "## Against the targets\n"
    yield from _targets(found)
    yield f"\n{WHY}"
    yield "## How it grows\n"
    yield GROWS
    yield from _growth(found, core)
    yield "\n![Cost over the number of sessions, both axes logarithmic](performance.svg)\n"
    for release, samples in found.items():
        yield f"\n## {DEBIAN[release]}\n"
        yield from _table(ROWS, samples)
        yield "\n" + _checks(samples)
    yield "\n## The core alone\n"
    yield CORE
    yield from _table(CORE_ROWS, core)


def _table(rows: tuple[Row, ...], samples: Samples) -> Iterator[str]:
    yield "| what | N | samples | min | median | p99 | max | mean |"
    yield "| --- | --: | --: | --: | --: | --: | --: | --: |"
    for row in rows:
        for size, values in sorted(samples.get(row.name, {}).items()):
            shown = sorted(sample * row.factor for sample in values)
            picked = (
                shown[0],
                statistics.median(shown),
                shown[len(shown) * 99 // 100],
                shown[-1],
                statistics.mean(shown),
            )
            numbers = " | ".join(f"{number:,.{row.digits}f}" for number in picked)
            yield f"| {row.title} | {size:,} | {len(shown)} | {numbers} |"


def _growth(found: Found, core: Samples) -> Iterator[str]:
    yield f"| what | {' | '.join(DEBIAN[release] for release in found)} |"
    yield f"| --- |{' --: |' * len(found)}"
    titles = {row.name: row.title for row in ROWS}
    for name in GROWTH:
        laws = (fit({size: value(s[name], name, size) for size in s[name]}).exponent for s in found.values())
        yield f"| {titles[name]} | {' | '.join(f'{law:.2f}' for law in laws)} |"
    for row in CORE_ROWS:
        law = fit({size: statistics.median(times) for size, times in core[row.name].items()})
        title = f"core alone, up to {max(core[row.name]):,}: {row.title}"
        yield f"| {title} | {' | '.join([f'{law.exponent:.2f}'] * len(found))} |"


def _checks(samples: Samples) -> str:
    late = [time for times in samples["late"].values() for time in times]
    not_ended, not_recorded, again, typing = (
        sum(int(number) for times in samples[name].values() for number in times)
        for name in ("not ended", "not recorded", "recorded again", "ended while typing")
    )
    return (
        f"Of {len(late) + not_ended:,} sessions that were due, {sum(time < 0 for time in late)} were ended early and "
        f"{not_ended} not at all; of {not_recorded} no record tells that idled ended it, of {again} more than one. "
        f"Of those in which somebody typed, {typing} were ended."
    )


# The design's targets

Measured = Callable[[Samples], float]


@dataclass(frozen=True)
class Target:
    """What is to be reached: at most so much."""

    title: str
    most: float
    measured: Measured
    unit: str
    digits: int = 2


def _of(name: str, size: int) -> Measured:
    return lambda samples: value(samples[name], name, size)


def _most(name: str, size: int, factor: float = 1) -> Measured:
    return lambda samples: max(samples[name][size]) * factor


def _added(name: str) -> Measured:
    """By the module, in ms; one that does nothing takes some time, too."""
    return lambda samples: (value(samples[name], name, 0) - value(samples["login nothing"], "login nothing", 0)) / 1000


def _slope(samples: Samples) -> float:
    """kB for each session, from none to the most of them."""
    rss = {size: statistics.median(values) for size, values in samples["rss"].items()}
    return (rss[max(rss)] - rss[0]) / max(rss)


TARGETS: Final = (
    Target("ended late: the last of 1,000 due at once", 4, _most("late", 1_000), "s"),
    Target("1,000 due at once: all gone", 15, _most("gone", 1_000), "s"),
    Target("memory without sessions", 30, lambda samples: max(samples["rss"][0]) / 1024, "MB", 1),
    Target("memory for each session", 4, _slope, "kB"),
    Target("login, daemon up: added, median", 1, _added("login up"), "ms"),
    Target("login, daemon hung: added, median", 300, _added("login hung"), "ms", 1),
    Target("login, daemon down: added, median", 1, _added("login down"), "ms"),
    Target("start with 3,000 sessions, remembered", 3, _most("start", 3_000), "s"),
    Target("start with 3,000 sessions, nothing remembered", 3, _most("start anew", 3_000), "s"),
)


def _targets(found: Found) -> Iterator[str]:
    yield f"| target | at most | {' | '.join(DEBIAN[release] for release in found)} |"
    yield f"| --- | --: |{' --: |' * len(found)}"
    for target in TARGETS:
        shown = []
        for samples in found.values():
            try:
                measured = target.measured(samples)
            except KeyError:  # not with these sizes
                shown.append("not measured")
                continue
            mark = "" if measured <= target.most else " **missed**"
            shown.append(f"{measured:.{target.digits}f} {target.unit}{mark}")
        yield f"| {target.title} | {target.most:g} {target.unit} | {' | '.join(shown)} |"
    for name, title in (("idle", "nobody types"), ("typing", "everybody types")):
        shown = [_beside_logind(samples, name) for samples in found.values()]
        yield f"| 1,000 sessions, {title}: CPU an hour | systemd-logind's | {' | '.join(shown)} |"


def _beside_logind(samples: Samples, name: str) -> str:
    try:
        own, other = (statistics.mean(samples[f"{who}{name} cpu"][1_000]) for who in ("", "logind "))
    except KeyError:
        return "not measured"
    return f"{own:.1f} s, logind's {other:.1f} s{'' if own <= other else ' **missed**'}"


HEAD: Final = f"""# What many sessions cost

Made by `./dev bench load >docs/performance.md` on a machine with {{cores}} cores and Linux {{kernel}}, a guest of each
release side by side; what one of them starts, lists and ends is measured while the other does none of it.

**What is real** of each of N sessions: a TCP connection; the processes of sshd with their users, parents and files
(root's leader, the user's that moves the bytes, a program at a prompt that takes and echoes each key); a pty; a PAM
session with pam_idled and pam_systemd; logind's session and its scope; the entry in utmp where there is one (Debian
12); one of {USERS} users. **What is not:** keys, passwords and ciphers, since the client just sends the user's name
(`tests/bench/stand_in.c`), and the shell. All clients are one process in the guest, which takes its share of the same
{{cores}} cores.

CPU is what the kernel counts for the service's cgroup, wakeups are voluntary context switches of its threads, both
reckoned to an hour. Nobody types: {RUNS} windows of {WINDOW} s, one after the other, from when the typing ends; a scan
comes once in the {RUNS}, and looks at each session come after silences that are twice as long each time, two or three
of them in that minute and as many again in the rest of the hour. So what counts is the mean, and it is that of the
dearest minute. Everybody types, each a key every 0 to {2 * PAUSE} s: {RUNS} windows of {SHORT} s between
two scans, with a limit of {LIMIT} s, so that there are looks enough to be counted. With 15 minutes a look comes once
in {_LOOK_EVERY_15_MIN:.0f} s instead of {_LOOK_EVERY:.0f} s, since for a minute nobody had typed before, and looks are
no farther apart than the longest such pause; the row that says *reckoned* takes what typing adds by that factor. Of
somebody who never pauses for longer than some seconds looks are as close as that.

Where all are due at once, everybody presses the last key at the same moment, is warned {WARNED} s before the end, and
the limit is {DUE} s. That a session is cut off is seen by its client; that nothing is left of it comes from the
journal (`IDLED_LATE_USEC` and `IDLED_TOOK_USEC`). A login is `pam_open_session()` in a stack of one module, in a
process of its own, one after the other.
"""
WHY: Final = """Why what is missed is missed, as far as a profiler told (py-spy and tracemalloc, in these guests):

- *The last of 1,000.* Both cores are busy until it is cut off, and two thirds of that is not idled's. On Debian 13
  the 1,000 ends took 2.5 s of CPU of idled, 1.8 s of PID 1, 1.4 s of what ends itself, 1.0 s of D-Bus, 0.8 s of logind
  and 0.4 s of the journal. So what favours idled does not help: with a nice value of -10 of its autogroup (its own has
  no effect beside other sessions) it waited for a core for 0.4 s instead of 1.3 s, and the last one was no earlier
  (three runs of each). Of its time 31 % are the looks that say that nobody came back, 28 % the signals, 10 % the last
  line on the terminals, 7 % what is remembered of the end, 5 % the journal.
- *Memory.* A session is some dozens of Python objects. Measured is a daemon that was started anew with all of them,
  while everybody types and when nobody does; one that saw 3,000 log in at once had a kilobyte more for each.
- *A start, sessions remembered.* A millisecond each: a third is a look, a seventh the file, a tenth the journal.
- *A start, nothing remembered.* Three times as much: logind is asked for all properties of each, its connection is
  searched for among its descriptors, and it is written down. Sessions younger than a minute are looked at every few
  seconds meanwhile, and 3,000 of those are more than a core can do; here all are older. It comes once, when idled is
  installed, and each session is under its limits as soon as it is seen.
- *Beside systemd-logind.* It reads one stamp of a terminal when a timer says so; a look here is also at every
  process, every terminal and the connection, and costs about a millisecond. (On Debian 13 logind ends no SSH session.)
"""
GROWS: Final = """Exponents of the power law that fits best (least squares of the logarithms): 0 does not depend on
the number of sessions, 1 grows with it.
"""
CORE: Final = """Rules, deadlines and bookkeeping with a virtual clock, without kernel and daemon; what a session shows
is made up, and that is counted, too.
"""
