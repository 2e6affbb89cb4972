"""A name server of few lines, for answers that no real one gives."""

import socket
import threading

import ports


class Server:
    """Answers UDP questions with the packets of answer(), a subclass's, and counts them in `asked`."""

    def __init__(self):
        self.asked = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = ports.take()
        self.socket.bind(("127.0.0.1", self.port))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                asked, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            if not asked:
                return
            self.asked += 1
            for answer in self.answer(asked):
                self.socket.sendto(answer, peer)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join(5)
        self.socket.close()
