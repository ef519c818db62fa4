# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a person gets to see of idlectl."""
