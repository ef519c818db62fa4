# SPDX-License-Identifier: LGPL-2.1-or-later
"""``./dev demo``: the real daemon, a real sshd and four people who log in, on a stage that leaves nothing behind."""
