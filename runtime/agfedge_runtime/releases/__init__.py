"""The releases of a target: what happens in its folder when a host deploys, looks or switches back.

The host sends this package ahead, as `boot` says: it needs the standard library alone, and nothing there need be
installed. What its functions take and return is read on either side by `agfedge_runtime.strict_json`, whose reader
resolves type hints on Python 3.8 too.
"""
