# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of the files of an administrator, right and wrong ones."""
