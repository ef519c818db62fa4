# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where sessions come from. Each source tells what it sees as a `Sighting`; `registry` makes one session of many."""
