# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pure core: what a session is, what the policy says of it, what is due when.

No I/O, no clock, no logging lives here, and nothing of ours is imported from outside this folder. All moments
(``*_at``, ``*_until``) are microseconds on CLOCK_BOOTTIME unless the name says wall; all spans are microseconds.
"""
