"""Keyrings of every mood: none, working, forgetful, hanging."""

from __future__ import annotations

import threading

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.backends.null
import pytest

from infuse_cli.keys import ring


class MemoryRing(keyring.backend.KeyringBackend):
    priority = 1

    def __init__(self):
        super().__init__()
        self.kept = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]


class HangingRing(MemoryRing):
    def __init__(self):
        super().__init__()
        self.release = threading.Event()
        self.asked = 0

    def get_password(self, service, username):
        self.asked += 1
        self.release.wait(30)


class BrokenRing(MemoryRing):
    def get_password(self, service, username):
        raise OSError("Prompt dismissed for hunter2")

    def set_password(self, service, username, password):
        raise OSError(f"cannot store {password}")


@pytest.fixture
def use_ring(monkeypatch):
    before = keyring.get_keyring()

    def use(backend):
        monkeypatch.setattr(ring._Broken, "trouble", "")
        keyring.set_keyring(backend)
        return backend

    yield use
    keyring.set_keyring(before)


@pytest.fixture
def no_ring(use_ring):
    return use_ring(keyring.backends.fail.Keyring())


@pytest.fixture
def memory_ring(use_ring):
    return use_ring(MemoryRing())


@pytest.fixture
def null_ring(use_ring):
    return use_ring(keyring.backends.null.Keyring())


@pytest.fixture
def broken_ring(use_ring):
    return use_ring(BrokenRing())


@pytest.fixture
def hanging_ring(use_ring, monkeypatch):
    monkeypatch.setattr(ring, "DEADLINE_S", 0.05)
    backend = use_ring(HangingRing())
    yield backend
    backend.release.set()
