# SPDX-License-Identifier: LGPL-2.1-or-later
"""``python -m idled`` is the daemon."""

import sys

from .daemon import main

sys.exit(main())
