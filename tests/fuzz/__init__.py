# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parsers of what comes from outside, against what nobody thought of. The table is in ``targets``."""
