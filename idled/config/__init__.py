# SPDX-License-Identifier: LGPL-2.1-or-later
"""From files to one frozen Policy, or to complaints that name file, key, what stood there and what was expected."""
