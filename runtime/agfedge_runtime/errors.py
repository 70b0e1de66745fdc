"""Every error that agfedge raises for something that a user can mend.

    AgfedgeError
    ├── InputError             an array, image, option or path that does not fit
    ├── MissingPackageError    an optional package is needed here; the message holds its install command
    ├── BundleError            a bundle cannot be trusted
    │   ├── BundleMissingFileError    a file that the manifest lists is not there
    │   ├── BundleDigestError         a file's size or sha256 differs from the manifest
    │   ├── BundleGoldenError         the golden answers are malformed
    │   ├── BundleKeyError            the manifest has an unknown, missing or mistyped key
    │   ├── BundlePathError           a path that leaves the folder, or is not a plain file
    │   ├── BundleSizeError           a file of absurd size
    │   └── BundleVersionError        a schema version that this release does not know
    ├── BackendError           an engine cannot be made or run
    └── NotFiniteError         an expert answered NaN or infinity

A message says what was got, what was expected and what to do, in one line. The command line prints it
after ``agfedge: `` and exits with 1.
"""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """What another library's error says, in one line; its class where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


class AgfedgeError(Exception):
    """Base of every error that a user can mend; its text is one line."""


class InputError(AgfedgeError):
    """An array, image, option or path does not fit."""


class MissingPackageError(AgfedgeError):
    """An optional package is missing; the message names the command that installs it."""


class BundleError(AgfedgeError):
    """A bundle cannot be trusted."""


class BundleMissingFileError(BundleError):
    """A file that the manifest lists is not there."""


class BundleDigestError(BundleError):
    """A file's size or sha256 differs from the manifest."""


class BundleGoldenError(BundleError):
    """The golden answers are malformed, or do not fit the manifest."""


class BundleKeyError(BundleError):
    """The manifest has an unknown, missing or mistyped key."""


class BundlePathError(BundleError):
    """A path leaves the bundle's folder, or does not name a plain file."""


class BundleSizeError(BundleError):
    """A file is larger than any that agfedge writes."""


class BundleVersionError(BundleError):
    """The manifest has a schema version that this release does not know."""


class BackendError(AgfedgeError):
    """An engine cannot be made or run."""


class NotFiniteError(AgfedgeError):
    """An expert answered NaN or infinity, which is never passed on as an answer."""
