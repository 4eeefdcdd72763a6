"""SCRAM-SHA-256 (RFC 5802, RFC 7677) at both ends, and the entry of a users file that goes with it."""

import base64
import hashlib
import hmac
import os

ITERATIONS = 4096


def b64(data):
    return base64.b64encode(data).decode()


def keyed(key, text):
    return hmac.digest(key, text if isinstance(text, bytes) else text.encode(), "sha256")


def salted(password, salt, iterations):
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def attributes(message):
    """`r=…,s=…` as a dictionary."""
    return dict(part.split("=", 1) for part in message.split(","))


def entry(user, password):
    """A line of the users file."""
    salt = os.urandom(16)
    key = salted(password, salt, ITERATIONS)
    stored = hashlib.sha256(keyed(key, "Client Key")).digest()
    return f"{user}:SCRAM-SHA-256${ITERATIONS}:{b64(salt)}${b64(stored)}:{b64(keyed(key, 'Server Key'))}\n"


class Client:
    """The client's end."""

    def __init__(self, user, password):
        self.password, self.nonce, self.signature = password, b64(os.urandom(18)), None
        self.bare = f"n={user},r={self.nonce}"

    def first(self):
        return b64(b"n,," + self.bare.encode())

    def last(self, challenge):
        challenge = base64.b64decode(challenge).decode()
        told = attributes(challenge)
        assert told["r"].startswith(self.nonce) and len(told["r"]) > len(self.nonce), challenge
        assert int(told["i"]) >= ITERATIONS, challenge
        key = salted(self.password, base64.b64decode(told["s"]), int(told["i"]))
        without = f"c=biws,r={told['r']}"
        message = f"{self.bare},{challenge},{without}"
        client = keyed(key, "Client Key")
        proof = xor(client, keyed(hashlib.sha256(client).digest(), message))
        self.signature = b64(b"v=" + b64(keyed(keyed(key, "Server Key"), message)).encode())
        return b64(f"{without},p={b64(proof)}".encode())


class Server:
    """The server's end. What it says can be falsified before it is sent."""

    def __init__(self, password, iterations=ITERATIONS):
        self.password, self.iterations, self.salt = password, iterations, os.urandom(16)

    def challenge(self, first):
        self.bare = base64.b64decode(first).decode().removeprefix("n,,")
        self.nonce = attributes(self.bare)["r"] + b64(os.urandom(18))
        self.told = f"r={self.nonce},s={b64(self.salt)},i={self.iterations}"
        return b64(self.told.encode())

    def signature(self, last):
        """The proof must be right: then the client has believed all that was said so far."""
        without, proof = base64.b64decode(last).decode().rsplit(",p=", 1)
        message = f"{self.bare},{self.told},{without}"
        key = salted(self.password, self.salt, self.iterations)
        client = keyed(key, "Client Key")
        due = xor(client, keyed(hashlib.sha256(client).digest(), message))
        assert base64.b64decode(proof) == due, "the client's proof is wrong"
        return b64(b"v=" + b64(keyed(keyed(key, "Server Key"), message)).encode())
