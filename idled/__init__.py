# SPDX-License-Identifier: LGPL-2.1-or-later
"""idled ends terminal and SSH sessions that are idle or open for too long."""

__version__ = "0.1.0"
