# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real terminals, processes and cgroups of this machine: what is looked at, written on and ended there."""
