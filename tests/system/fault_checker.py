"""What must be true of an instance's folder after any fault: one checker for all fault tests.

    checker = Checker(instance)                    before anything goes wrong
    checker.check(folder, journal)                 right after the fault: what was acknowledged is there
    checker.check_settled(folder, journal)         after a server had the time to carry out what is due

Both return a list of problems, each one line.
"""

import copy
import hashlib
import pathlib
import re
import shutil
import sqlite3
import ssl
import stat
import subprocess
import tempfile
import time

from csr_tools import openssl

SETTLE_S = 20
MODES = {  # by the name's end; the first that fits
    "mosquitto/server.key": {0o640, 0o600}, ".key": {0o600}, "devices.db": {0o600}, "devices.db-wal": {0o600},
    "devices.db-shm": {0o600}, "devices.db.lock": {0o600}, ".crl.lock": {0o600}, ".pem": {0o644},
}


class Crl:
    """crl.pem: the issuing CA's list and the root's."""

    def __init__(self, path, ca):
        self.problems = []
        self.entries, self.number = {}, 0
        parts = pathlib.Path(path).read_text(errors="replace").split("-----BEGIN X509 CRL-----")[1:]
        if len(parts) != 2:
            self.problems.append(f"crl.pem holds {len(parts)} CRLs")
            return
        for part, issuer in zip(parts, ("issuing.pem", "root.pem")):
            self._read("-----BEGIN X509 CRL-----" + part, ca / issuer)

    def _read(self, pem, issuer):
        done = openssl("crl", "-noout", "-text", "-crlnumber", "-verify", "-CAfile", issuer, data=pem, check=False)
        text = (done.stdout + done.stderr).decode()
        if done.returncode or "verify OK" not in text:
            self.problems.append(f"crl.pem: {issuer.name}: {text[-200:]!r}")
        if issuer.name == "issuing.pem" and not self.problems:
            self.number = int(re.search(r"crlNumber=(?:0x)?([0-9A-Fa-f]+)", text).group(1), 16)
            self._read_entries(text)

    def _read_entries(self, text):
        for part in text.split("Serial Number: ")[1:]:
            serial = int(part.split("\n")[0], 16)
            if serial in self.entries:
                self.problems.append(f"crl.pem lists {serial:x} twice")
            reason = re.search(r"CRL Reason Code: \n\s*(.*)\n", part)
            self.entries[serial] = reason.group(1).strip() if reason else None

    def holds(self, certificate):
        return self.entries.get(int(certificate["serial"], 16)) == "Certificate Hold"

    def revokes(self, certificate):
        serial = int(certificate["serial"], 16)
        return serial in self.entries and not self.holds(certificate)


class Store:
    """The database as a copy of its files has it: looking at it changes nothing."""

    def __init__(self, path):
        with tempfile.TemporaryDirectory() as scratch:
            for suffix in ("", "-wal", "-journal"):
                if path.with_name(path.name + suffix).exists():
                    shutil.copy(path.with_name(path.name + suffix), f"{scratch}/copy.db{suffix}")
            with sqlite3.connect(f"{scratch}/copy.db") as db:
                db.row_factory = sqlite3.Row
                self.integrity = [row[0] for row in db.execute("PRAGMA integrity_check")]
                self.version = db.execute("PRAGMA user_version").fetchone()[0]
                self.devices = {row["device_uid"]: row for row in db.execute("SELECT * FROM devices")}
                self.certificates = db.execute("SELECT * FROM certificates ORDER BY rowid").fetchall()
                self.meta = dict(db.execute("SELECT name, value FROM meta"))
            db.close()
        self.by_id = {row["certificate_id"]: row for row in self.certificates}
        self.of = {}
        for row in self.certificates:
            self.of.setdefault(row["device_uid"], []).append(row)

    def crl_number(self):
        """That of the newest CRL; 0 if there was none yet."""
        heads = self.meta.get("crl_heads", "").splitlines()[1:]
        return int(heads[0].split()[1]) if heads else 0


class Checker:
    def __init__(self, instance):
        self.version = Store(instance.folder / "devices.db").version
        assert self.version > 0
        self.number = 0  # the highest that was seen in a crl.pem

    # --- The whole ---

    def check(self, folder, journal, with_crl=True):
        """with_crl: false for a copy of the store alone."""
        folder = pathlib.Path(folder)
        try:
            store = Store(folder / "devices.db")
        except sqlite3.Error as problem:
            return [f"the database: {problem}"]
        problems = self._database(store) + self._certificates(store) + self._modes(folder)
        crl = Crl(folder / "ca/crl.pem", folder / "ca") if with_crl else None
        if crl:
            problems += crl.problems + self._published(store, crl)
        for uid, events in journal.events.items():
            problems += self._device(store, crl, uid, events)
        return problems + journal.violations

    def for_cut(self):
        """A checker of a folder as it was at an earlier time: numbers begin anew."""
        other = copy.copy(self)
        other.number = 0
        return other

    def check_settled(self, folder, journal, carried=frozenset()):
        """Waits until all that is due has been carried out, then looks for more than check() does. carried: serials that
        stay listed, whatever the store knows of them."""
        folder = pathlib.Path(folder)
        deadline = time.monotonic() + SETTLE_S
        while True:
            store = self._settled_store(folder)
            crl = Crl(folder / "ca/crl.pem", folder / "ca")
            problems = self._unsettled(store) + self._exactly(store, crl, carried)
            if not problems or time.monotonic() > deadline:
                return problems + self.check(folder, journal)
            time.sleep(0.1)

    @staticmethod
    def _settled_store(folder):
        """A server writes beside us: its files can't be copied, but SQLite can."""
        with tempfile.TemporaryDirectory() as scratch:
            copy = pathlib.Path(scratch) / "devices.db"
            source, target = sqlite3.connect(folder / "devices.db", timeout=30), sqlite3.connect(copy)
            source.backup(target)
            source.close()
            target.close()
            return Store(copy)

    # --- The parts ---

    def _database(self, store):
        problems = [] if store.integrity == ["ok"] else [f"integrity_check: {store.integrity[:3]}"]
        if store.version != self.version:
            problems.append(f"user_version is {store.version}, not {self.version}")
        return problems

    @staticmethod
    def _certificates(store):
        problems = []
        for row in store.certificates:
            name = f"certificate {row['certificate_id'][:12]} of {row['device_uid']}"
            device = store.devices.get(row["device_uid"])
            if hashlib.sha256(ssl.PEM_cert_to_DER_cert(row["pem"])).hexdigest() != row["certificate_id"]:
                problems.append(f"{name}: its id is not its hash")
            if row["state"] not in ("current", "retiring", "revoked"):
                problems.append(f"{name} is {row['state']}")
            if row["state"] == "current" and (not device or device["certificate_id"] != row["certificate_id"]):
                problems.append(f"{name} is current, but its device does not say so")
            if row["reason"] == "superseded":
                successor = store.by_id.get(row["successor"])
                if not successor or successor["device_uid"] != row["device_uid"]:
                    problems.append(f"{name} has no successor")
        for uid, device in store.devices.items():
            current = [row for row in store.of.get(uid, []) if row["state"] == "current"]
            if device["is_registered"] and not device["is_revoked"] and len(current) != 1:
                problems.append(f"{uid} is registered and has {len(current)} current certificates")
            if device["is_revoked"] and current:
                problems.append(f"{uid} is revoked and has a current certificate")
            if device["certificate_id"] and device["certificate_id"] not in store.by_id:
                problems.append(f"{uid} has a certificate that is not there")
            if current and current[0]["public_key_sha256"] != device["public_key_sha256"]:
                problems.append(f"{uid}: the key is not its certificate's")
            if device["lease_owner"]:
                problems.append(f"{uid} is leased")
        return problems

    def _published(self, store, crl):
        """The record says that something is carried out only when it is."""
        problems = []
        now_ms = time.time() * 1000
        for row in store.certificates:
            if row["state"] == "revoked" and row["not_after"] > now_ms and not crl.revokes(row):
                problems.append(f"{row['device_uid']}: {row['serial']} is revoked, and not in crl.pem")
        for uid, device in store.devices.items():
            if device["is_enabled"] or not device["is_suspended"]:
                continue
            problems += [f"{uid} is suspended, and not in crl.pem" for row in store.of.get(uid, [])
                         if row["state"] == "current" and not crl.holds(row)]
        if 0 < store.crl_number() < crl.number:
            problems.append(f"crl.pem's number {crl.number} is ahead of the store's {store.crl_number()}")
        if crl.number < self.number:
            problems.append(f"crl.pem's number went back from {self.number} to {crl.number}")
        self.number = max(self.number, crl.number)
        return problems

    @staticmethod
    def _modes(folder):
        problems = []
        for path in folder.rglob("*"):
            if path.is_dir():
                continue
            mode, name = stat.S_IMODE(path.stat().st_mode), str(path.relative_to(folder))
            wanted = next((modes for end, modes in MODES.items() if name.endswith(end)), None)
            if wanted and mode not in wanted:
                problems.append(f"{name} has the mode {mode:o}")
            allowed = 0o640 if name.startswith("mosquitto/") else 0o600  # as the temporary files of keys
            if mode & ~allowed and ".key" in name and not wanted:
                problems.append(f"{name} may be read by others")
        return problems

    def _device(self, store, crl, uid, events):
        problems = []
        for event in events:
            if event.done_ns is None or event.certificate_id is None:
                continue
            row = store.by_id.get(event.certificate_id)
            if row is None:
                problems.append(f"{uid}: acknowledged {event.certificate_id[:12]} is lost")
            elif row["device_uid"] != uid or row["pem"] != event.pem:
                problems.append(f"{uid}: acknowledged {event.certificate_id[:12]} is another's")
        if events and events[-1].done_ns is not None:
            what = self._last(store, crl, uid, events[-1])
            if what:
                problems.append(f"{uid}: {events[-1].verb} was acknowledged, but {what}")
        return problems

    @staticmethod
    def _last(store, crl, uid, event):
        """What contradicts the last event, which was acknowledged; None if nothing does."""
        device, certificates = store.devices.get(uid), store.of.get(uid, [])
        revokes = crl.revokes if crl else lambda row: row["state"] != "current"
        holds = crl.holds if crl else lambda row: not device["is_enabled"]
        if event.verb == "remove":
            return "it is there" if device else \
                "a certificate is not revoked" if not all(map(revokes, certificates)) else None
        if not device:
            return "there is no such device"
        current = next((row for row in certificates if row["state"] == "current"), None)
        is_wrong = {
            "register": lambda: not device["is_registered"] or not current
            or current["certificate_id"] != event.certificate_id
            or device["certificate_id"] != event.certificate_id,
            "revoke": lambda: not device["is_revoked"] or device["is_enabled"] or current
            or not all(map(revokes, certificates)),
            "disable": lambda: device["is_enabled"] or (current and not holds(current)),
            "enable": lambda: not device["is_enabled"] or (current and holds(current)),
            "reset": lambda: device["is_registered"] or device["is_revoked"],
        }[event.verb]
        return f"the store says {dict(device)}, {[tuple(row)[:3] for row in certificates]}" if is_wrong() else None

    @staticmethod
    def _unsettled(store):
        now_ms = time.time() * 1000
        return [f"{row['device_uid']}: {row['serial']} is still to be revoked" for row in store.certificates
                if row["state"] == "retiring" and row["revoke_after"] <= now_ms] + \
               [f"{uid}: its suspension is still to be carried out" for uid, device in store.devices.items()
                if device["certificate_id"] and device["is_enabled"] == device["is_suspended"]]

    @staticmethod
    def _exactly(store, crl, carried):
        """Nothing stands in the CRL that should not, and nothing is missing."""
        now_ms = time.time() * 1000
        revoked = {int(row["serial"], 16) for row in store.certificates
                   if row["state"] == "revoked" and row["not_after"] > now_ms} | carried
        held = {int(row["serial"], 16) for uid, device in store.devices.items() if not device["is_enabled"]
                for row in store.of.get(uid, []) if row["state"] in ("current", "retiring")} - revoked
        listed_held = {serial for serial, reason in crl.entries.items() if reason == "Certificate Hold"}
        listed = set(crl.entries) - listed_held
        return [f"crl.pem and the store differ: revoked {len(listed ^ revoked)}, on hold {len(listed_held ^ held)}"] \
            if listed != revoked or listed_held != held else []


def same_certificate_again(instance, journal, most=20):
    """Asks again, with the same CSR, for devices whose registration was acknowledged and is their last event."""
    from fault_load import Client
    client, problems, asked = Client(instance, journal), [], 0
    for uid, events in list(journal.events.items()):
        last = events[-1]
        if asked == most or last.verb != "register" or not last.csr or last.done_ns is None:
            continue
        asked += 1
        event, (status, _, body) = client.register(uid, last.csr)
        if status != 200 or (event.certificate_id, event.pem) != (last.certificate_id, last.pem):
            problems.append(f"{uid}: the same CSR got {status} {body['payload'].get('code')}")
    client.close()
    return problems


