# SPDX-License-Identifier: LGPL-2.1-or-later
"""How activity is observed. What it means is decided in ``core.activity``."""
