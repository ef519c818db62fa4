# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pure core, driven with a virtual clock."""
