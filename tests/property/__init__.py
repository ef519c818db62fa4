# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds for all inputs, sought by hypothesis."""
