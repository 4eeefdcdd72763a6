"""DFOS and its peers side by side, for rows in which each moves the same files."""

import shutil

import peers
from place import Skip


class Scene:
    """Every server that can be had, with its files below one directory, which goes with the scene."""

    def __init__(self, place, under, which):
        self.place, self.under = place, under
        self.servers, self.missing = {}, {}
        for kind in [peers.Dfos] + which:
            try:
                self.servers[kind.name] = kind(place, under)
            except Skip as why:
                self.missing[kind.name] = str(why)
        self.dfos = self.servers["dfos"]
        self.dfos.login()

    def close(self):
        for server in self.servers.values():
            server.stop()
        shutil.rmtree(self.under)
