"""AWS IoT for the system tests: the fake with a proxy before it, another team's things beside, and what must hold of a fleet
after whatever happened.

    with Cloud(folder) as cloud:
        instance = cloud.instance(tmp_path)
        ...
        assert cloud.problems(instance, uids) == []
"""

import os
import pathlib

from aws_proxy import Proxy
from csr_tools import make_csr
from cvm_server import Instance, build_folder
from dynamodb import KEYS
from fake_iot import FakeIoT

OPERATIONS = {  # by method, first part of the path, and whether more follows
    ("POST", "certificates", False): "CreateCertificateFromCsr", ("GET", "certificates", False): "ListCertificates",
    ("GET", "certificates", True): "DescribeCertificate", ("PUT", "certificates", True): "UpdateCertificate",
    ("DELETE", "certificates", True): "DeleteCertificate", ("PUT", "target-policies", True): "AttachPolicy",
    ("POST", "target-policies", True): "DetachPolicy", ("GET", "policies", True): "GetPolicy", ("POST", "things", True): "CreateThing",
    ("PUT", "things", True): "AttachThingPrincipal", ("DELETE", "things", True): "DetachThingPrincipal", ("GET", "principals", True): "ListPrincipalThings",
    ("GET", "endpoint", False): "DescribeEndpoint", ("GET", "certificate-providers", True): "ListCertificateProviders",
    ("POST", "certificate", True): "RegisterCertificateWithoutCA"}
REGISTRATION = ("CreateCertificateFromCsr", "AttachPolicy", "CreateThing", "AttachThingPrincipal", "UpdateCertificate")


def operation(method, path, headers):
    parts = path.partition("?")[0].split("/")[1:]
    if (method, parts[0]) == ("GET", "things"):
        return "DescribeThing" if len(parts) == 2 else "ListThingPrincipals"
    return OPERATIONS[method, parts[0], len(parts) > 1]


def thing_of(uid):
    return f"thing_{uid}"


class Cloud:
    """An account. Another team has an inactive certificate and an active one, each on a thing of its own, and both on a second one."""

    def __init__(self, folder):
        self.iot = FakeIoT(pathlib.Path(folder) / "iot")
        os.environ.update(KEYS)

    def __enter__(self):
        self.iot.__enter__()
        self.proxy = Proxy(self.iot.url, "iot", name_of=operation).__enter__()
        self.calls = self.proxy.calls
        for name, status in (("pump", "INACTIVE"), ("valve", "ACTIVE")):
            self.hang_on(name, status, color="red")
        self.iot.things["station"] = {}
        for certificate in self.iot.certificates.values():
            self.iot.attach("station", certificate, {})
        self.others = self.state_of_others()
        return self

    def __exit__(self, kind, *problem):
        self.proxy.__exit__(kind, *problem)
        self.iot.__exit__()
        assert kind or self.state_of_others() == self.others

    def state_of_others(self):
        """What is another team's."""
        names = ("pump", "valve", "station")
        return [(name, self.iot.things[name], [(c.id, c.status, sorted(c.things), sorted(c.policies)) for c in self.iot.of_thing(name)]) for name in names]

    def is_others(self, certificate):
        return certificate.id in [row[0] for _, _, rows in self.others for row in rows]

    def ours(self):
        return [certificate for certificate in self.iot.certificates.values() if not self.is_others(certificate)]

    def hang_on(self, thing, status, **attributes):
        """As somebody else makes a thing with a certificate; the certificate."""
        self.iot.things.setdefault(thing, attributes)
        answer = self.iot.create_certificate({"certificateSigningRequest": make_csr()}, {"setAsActive": str(status == "ACTIVE").lower()})
        certificate = self.iot.certificates[answer["certificateId"]]
        self.iot.attach(thing, certificate, {})
        return certificate

    def configure(self, instance, **settings):
        text = instance.conf.read_text().replace("platform = local:ca", "platform = aws-iot")
        lines = {"module.path": build_folder(), "aws.endpoint_iot": self.proxy.url, **settings}
        instance.conf.write_text(text + "".join(f"\n{name} = {value}" for name, value in lines.items()) + "\n")
        return instance

    def instance(self, folder, name="cvm", **settings):
        """On a file of its own."""
        return self.configure(Instance(folder, name=name), **settings)

    def statuses(self, uid):
        return sorted(certificate.status for certificate in self.iot.of_thing(thing_of(uid)))

    def problems(self, instance, registered, others=()):
        """What must hold once all is settled: a registered device has the one certificate that its record names, ACTIVE and with the
        policy; others have none that is not revoked; and none is there, of any state, that no record holds."""
        problems, known = [], set()
        devices = {uid: instance.show(uid) for uid in (*registered, *others)}
        for device in devices.values():
            known |= {row["certificate_id"] for row in device["certificates"]}
        for uid in registered:
            device = devices[uid]
            active = [c.id for c in self.iot.of_thing(thing_of(uid)) if c.status == "ACTIVE"]
            if active != [device.get("certificate_id")] or not device["is_registered"]:
                problems.append(f"{uid}: {active} are active, its record has {device.get('certificate_id')}")
        for uid in others:
            problems += [f"{uid} has one that is {status}" for status in self.statuses(uid) if status != "REVOKED"]
        for certificate in self.ours():
            if certificate.id not in known:
                problems.append(f"{certificate.id} ({certificate.status}, {certificate.things}) is in no record")
            elif certificate.status == "ACTIVE" and certificate.policies != {"cvm-device"}:
                problems.append(f"{certificate.id} has {certificate.policies}")
        return problems
