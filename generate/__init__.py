# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes what is installed beside the program out of the program's own tables: manual pages and shell completions.

So they cannot drift. What is written by hand stands in packaging/man and packaging/completions, with marks where the
tables come in. Not installed itself; ``./dev install`` runs it.
"""
