# SPDX-License-Identifier: LGPL-2.1-or-later
"""One module for each module of the package."""
