# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done to a session: it is warned, and it is ended. When, is decided in ``core``."""
