"""What the scripts beside this share: a client that hides nothing, and a server to talk to."""

import os
import socket
import subprocess
import time


class Client:
    """A connection; its calls raise OSError when that is broken."""

    def __init__(self, scratch):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(scratch + "/socket")
        self.file = self.socket.makefile("rb")

    def send(self, *commands):
        self.socket.sendall("".join(command + "\r\n" for command in commands).encode())

    def reply(self):
        """The next reply; an error is a RuntimeError that is returned."""
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("the connection is closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2].decode() if rest != b"-1" else None
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b"-":
            return RuntimeError(rest.decode())
        return rest.decode()

    def ask(self, command):
        self.send(command)
        return self.reply()


class Place:
    """A folder with a server's socket, its log and its data, as the script lays them out."""

    def __init__(self, server, scratch):
        self.server, self.scratch = server, scratch

    def connect(self):
        return Client(self.scratch)

    def start(self, directory, *words, wrapper=(), **how):
        """Starts a server, under `wrapper` if there is one, and waits until it answers."""
        process = self.spawn(directory, *words, wrapper=wrapper, **how)
        client = self.answers(process)
        assert client, f"the server ended with {process.returncode}:\n" + self.tail()
        return process, client

    def spawn(self, directory, *words, wrapper=(), **how):
        log = open(self.scratch + "/log", "ab")
        process = subprocess.Popen(
            [*wrapper, self.server, "--port", "0", "--unixsocket", self.scratch + "/socket"]
            + ["--dir", directory, "--save", "", "--appendonly", "yes", *words],
            stdout=log, stderr=log, **how)
        with open(self.scratch + "/pid", "w") as file:
            file.write(str(process.pid))
        return process

    def answers(self, process):
        """A connection to the server, once it answers; None if it has ended."""
        for _ in range(6000):
            if process.poll() is not None:
                return None
            try:
                client = self.connect()
                if f"process_id:{process.pid}\r\n" in str(client.ask("INFO server")):
                    return client
            except OSError:
                pass
            time.sleep(0.01)
        raise AssertionError("the server does not answer:\n" + self.tail())

    def end(self, process):
        """Kills the server."""
        process.kill()
        process.wait()
        os.remove(self.scratch + "/pid")

    def tail(self):
        with open(self.scratch + "/log", errors="replace") as file:
            return "".join(file.readlines()[-20:])
