"""The files that are moved: made once, random (nothing can compress or skip them), the same for all; and their digests."""

import hashlib
import os

CHUNK = 4 << 20


def big(path, size):
    """A file of random bytes; its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        left = size
        while left > 0:
            piece = os.urandom(min(CHUNK, left))
            file.write(piece)
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()


def tree(path, files, directories, size):
    """`files` random files of `size` bytes in as many directories; their digest as `tree_digest` gives it."""
    for number in range(files):
        where = os.path.join(path, f"d{number % directories:03}")
        if number < directories:
            os.makedirs(where)
        with open(os.path.join(where, f"f{number:06}"), "wb") as file:
            file.write(os.urandom(size))
    return tree_digest(path)


def file_digest(path):
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(path):
    """SHA-256 over names and contents of a tree. What begins with .dfos is the server's own and not part of what was moved."""
    digest = hashlib.sha256()
    for where, directories, names in os.walk(path):
        directories[:] = sorted(name for name in directories if not name.startswith(".dfos"))
        for name in sorted(names):
            full = os.path.join(where, name)
            digest.update(f"{os.path.relpath(full, path)}\0{file_digest(full)}\n".encode())
    return digest.hexdigest()


def same(expected, found, what):
    """Fails if two digests differ."""
    if expected != found:
        raise RuntimeError(f"digest mismatch: {what}")
