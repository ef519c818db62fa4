# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mutation testing: the program is changed in one place at a time, and some test must fail for it."""
