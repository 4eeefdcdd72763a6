"""A relay that counts the bytes of a connection, in each direction, on their way from a client to a server."""

import socket
import threading


class Relay:
    """Listens on a free port of 127.0.0.1, and leads on to another."""

    def __init__(self, port):
        self.to, self.up, self.down = port, 0, 0
        self.lock, self.threads, self.sockets = threading.Lock(), [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._go(self._accept)

    def _go(self, work, *words):
        thread = threading.Thread(target=work, args=words, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # closed: the end
            server = socket.create_connection(("127.0.0.1", self.to))
            self.sockets += [client, server]
            self._go(self._pump, client, server, "up")
            self._go(self._pump, server, client, "down")

    def _pump(self, source, target, way):
        try:
            while piece := source.recv(1 << 18):
                target.sendall(piece)
                with self.lock:
                    setattr(self, way, getattr(self, way) + len(piece))
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other end has gone

    def done(self):
        """Waits until all connections have ended; bytes up and down since the last call."""
        for thread in self.threads[1:]:
            thread.join(10)
        found = self.up, self.down
        self.up = self.down = 0
        for one in self.sockets:
            one.close()
        del self.threads[1:], self.sockets[:]
        return found

    def close(self):
        """Ends it."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.done()
