# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measurements beside other tools: they print and assert nothing."""
