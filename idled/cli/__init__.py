# SPDX-License-Identifier: LGPL-2.1-or-later
"""idlectl: one module for each verb. What only people look at is imported here and nowhere else."""
