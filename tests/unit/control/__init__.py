# SPDX-License-Identifier: LGPL-2.1-or-later
"""The varlink service and its client, over real sockets."""
