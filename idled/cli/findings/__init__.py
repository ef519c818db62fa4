# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ``idlectl doctor`` looks at, one module for each area. All of it reads; `probe` alone does something."""
