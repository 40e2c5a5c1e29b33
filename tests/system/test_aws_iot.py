"""The platform over AWS IoT as its documents have it: what is made, what becomes of it, and whose things are left alone."""

import http.server
import json
import re
import signal
import sqlite3
import ssl
import threading

import pytest

from aws_iot import Cloud, REGISTRATION, thing_of
from csr_tools import make_csr, openssl
from cvm_server import Failed
from dynamodb import DynamoDB


@pytest.fixture
def cloud(tmp_path):
    with Cloud(tmp_path) as cloud:
        yield cloud


@pytest.fixture
def instance(cloud, tmp_path):
    instance = cloud.instance(tmp_path)
    yield instance
    instance.stop()


def payload(answer):
    status, _, body = answer
    assert status == 200, body
    return body["payload"]


def refusal(answer):
    status, _, body = answer
    return status, body["payload"]["code"], body["payload"]["message"]


# --- A device's life --------------------------------------------------------------------------------


@pytest.mark.parametrize("csr", (None, make_csr()))
def test_a_device_is_registered_by_one_call_a_step(cloud, instance, csr):
    instance.add("DEVICE")
    with instance.serve_plain():
        cloud.calls.clear()
        answer = payload(instance.register("DEVICE", csr=csr))
    assert tuple(cloud.calls) == REGISTRATION
    certificate, = cloud.iot.of_thing(thing_of("DEVICE"))
    assert (certificate.id, certificate.status, certificate.policies) == (answer["certificate_id"], "ACTIVE", {"cvm-device"})
    assert certificate.is_exclusive and answer["certificates"]["device_certificate"] == certificate.pem
    assert cloud.iot.things[thing_of("DEVICE")] == {"device_uid": "DEVICE", "registered_via": "libcvm"}
    assert answer["endpoint"] == cloud.iot.endpoint and answer["certificates"]["root_ca"].count("BEGIN CERTIFICATE") == 1
    assert cloud.problems(instance, ["DEVICE"]) == []


def test_what_the_operator_says_is_carried_out(cloud, instance):
    instance.import_csv(["A", "B", "C"])
    with instance.serve_plain():
        first = payload(instance.register("A"))["certificate_id"]
        payload(instance.register("B"))
        for verb, status in (("disable", "INACTIVE"), ("enable", "ACTIVE"), ("revoke", "REVOKED")):
            instance.cvm("device", verb, "A")
            assert cloud.statuses("A") == [status]
        assert refusal(instance.register("A"))[0] == 403
        instance.cvm("device", "reset", "A")
        instance.cvm("device", "enable", "A")
        second = payload(instance.register("A"))["certificate_id"]
        instance.cvm("device", "remove", "B", "--force")
        assert cloud.statuses("B") == ["REVOKED"]
        payload(instance.register("C"))
        instance.cvm("device", "reset", "C")
        payload(instance.register("C"))
        instance.cvm("reconcile")
        assert cloud.statuses("C") == ["ACTIVE", "REVOKED"]
    assert cloud.iot.certificates[first].status == "REVOKED" and cloud.iot.certificates[second].status == "ACTIVE"


def test_no_verb_of_one_device_goes_through_lists(cloud, instance):
    instance.add("DEVICE")
    with instance.serve_plain():
        payload(instance.register("DEVICE"))
        cloud.calls.clear()
        for verb in ("disable", "enable", "revoke"):
            instance.cvm("device", verb, "DEVICE")
    assert cloud.calls == ["UpdateCertificate"] * 3


def test_a_certificate_may_hang_on_a_second_thing(cloud, instance, tmp_path):
    """Where its users do that, they say so."""
    other = cloud.instance(tmp_path, "shared", **{"aws.exclusive_thing": "off"})
    other.add("DEVICE")
    with other.serve_plain():
        payload(other.register("DEVICE"))
        certificate, = cloud.iot.of_thing(thing_of("DEVICE"))
        cloud.iot.things["gateway"] = {}
        cloud.iot.attach("gateway", certificate, {})
        other.cvm("device", "reset", "DEVICE")
        payload(other.register("DEVICE"))
        other.cvm("reconcile")
    assert certificate.status == "REVOKED" and certificate.things == {"gateway", thing_of("DEVICE")}
    assert cloud.iot.things["gateway"] == {}


def test_a_ca_of_ones_own_signs_and_aws_is_told(cloud, tmp_path):
    """Certificates chain to that CA; AWS IoT makes none, and has each registered before anything hangs on it."""
    instance = cloud.instance(tmp_path, **{"aws.certificates": "local:ca"})
    instance.import_csv(["CSR", "KEY"])
    with instance.serve_plain():
        for uid, csr in (("CSR", make_csr()), ("KEY", None)):
            cloud.calls.clear()
            answer = payload(instance.register(uid, csr=csr))
            assert cloud.calls == ["RegisterCertificateWithoutCA", "AttachPolicy", "CreateThing", "AttachThingPrincipal", "UpdateCertificate"] or (
                cloud.calls[1] == "DescribeCertificate")
            openssl("verify", "-x509_strict", "-CAfile", instance.root_ca, "-untrusted", instance.folder / "ca/issuing.pem", data=answer["certificates"]["device_certificate"])
            assert answer["certificates"]["device_certificate"].count("BEGIN") == 2
        for verb, status in (("disable", "INACTIVE"), ("enable", "ACTIVE"), ("revoke", "REVOKED")):
            instance.cvm("device", verb, "CSR")
            assert cloud.statuses("CSR") == [status]
    assert "CreateCertificateFromCsr" not in cloud.calls and cloud.problems(instance, ["KEY"], ["CSR"]) == []


@pytest.mark.parametrize("fault", ("lost", "reset", "error", "denied", "html"))
def test_a_registered_certificate_whose_answer_was_lost_is_registered(cloud, tmp_path, fault):
    instance = cloud.instance(tmp_path, **{"aws.certificates": f"local:{tmp_path}/cvm/ca"})
    instance.add("DEVICE")
    csr = make_csr()
    with instance.serve_plain():
        cloud.proxy.plan("RegisterCertificateWithoutCA", fault)
        answers = [instance.register("DEVICE", csr=csr)]
        while answers[-1][0] != 200 and len(answers) < 20:
            answers.append(instance.register("DEVICE", csr=csr))
        assert answers[-1][0] == 200
    assert cloud.problems(instance, ["DEVICE"]) == []


# --- Things that were there -------------------------------------------------------------------------


def test_somebody_elses_thing_is_left_alone(cloud, instance):
    instance.add("DEVICE")
    stranger = cloud.hang_on(thing_of("DEVICE"), "ACTIVE", owner="accounting")
    with instance.serve_plain():
        status, code, text = refusal(instance.register("DEVICE"))
        assert (status, code) == (502, "platform_error") and "'thing_DEVICE'" in text and "not this device's" in text
    assert cloud.iot.of_thing(thing_of("DEVICE")) == [stranger] and stranger.status == "ACTIVE"
    assert cloud.ours() == [stranger]


def test_somebody_elses_thing_is_taken_over_if_told(cloud, tmp_path):
    """What hangs on nothing else is deactivated; what does only goes off it. Lists come a page of one at a time."""
    instance = cloud.instance(tmp_path, **{"aws.adopt": "on"})
    instance.add("DEVICE")
    cloud.iot.page_size = 1
    strangers = [cloud.hang_on(thing_of("DEVICE"), "ACTIVE", owner="accounting") for _ in range(5)]
    cloud.iot.things["press"] = {}
    cloud.iot.attach("press", strangers[0], {})
    with instance.serve_plain():
        new = payload(instance.register("DEVICE"))["certificate_id"]
    assert [certificate.id for certificate in cloud.iot.of_thing(thing_of("DEVICE"))] == [new]
    assert [certificate.status for certificate in strangers] == ["ACTIVE"] + 4 * ["INACTIVE"]


def test_a_principal_is_no_way_into_a_request(cloud, tmp_path):
    instance = cloud.instance(tmp_path, **{"aws.adopt": "on"})
    instance.add("DEVICE")
    stranger = cloud.hang_on(thing_of("DEVICE"), "ACTIVE", owner="accounting")
    stranger.arn += "\r\nX-Evil: 1\r\n\r\nGET /certificates HTTP/1.1\r\nHost: x\r\n\r\n"
    with instance.serve_plain():
        assert refusal(instance.register("DEVICE"))[0] in (502, 503)
    assert "ListCertificates" not in cloud.calls and stranger.status == "ACTIVE"


def test_what_another_system_left_half_done_is_brought_to_its_end(cloud, instance):
    """The reference activates first: its commonest failure leaves an active certificate that no record has."""
    instance.add("DEVICE")
    left = cloud.hang_on(thing_of("DEVICE"), "ACTIVE", device_uid="DEVICE", registered_via="iot-core-cvm")
    with instance.serve_plain():
        new = payload(instance.register("DEVICE"))["certificate_id"]
        instance.cvm("reconcile")
    assert left.status == "REVOKED" and cloud.iot.certificates[new].status == "ACTIVE"
    assert left.id in [row["certificate_id"] for row in instance.show("DEVICE")["certificates"]]
    assert cloud.problems(instance, ["DEVICE"]) == []


def test_its_own_thing_is_the_devices_whatever_its_users_wrote_on_it(cloud, instance):
    instance.add("DEVICE")
    with instance.serve_plain():
        payload(instance.register("DEVICE"))
        cloud.iot.things[thing_of("DEVICE")] = {"color": "blue"}
        instance.cvm("device", "reset", "DEVICE")
        payload(instance.register("DEVICE"))
    assert cloud.iot.things[thing_of("DEVICE")] == {"color": "blue"}


def test_under_a_new_name_a_thing_is_looked_at_anew(cloud, instance):
    instance.add("DEVICE")
    with instance.serve_plain():
        payload(instance.register("DEVICE"))
    instance.cvm("device", "reset", "DEVICE")
    stranger = cloud.hang_on("pump-DEVICE", "ACTIVE", owner="accounting")
    with instance.serve_plain({"thing.name_format": "pump-%DEVICE_UID%"}):
        for _ in range(2):
            assert "'pump-DEVICE'" in refusal(instance.register("DEVICE"))[2]
    assert cloud.iot.of_thing("pump-DEVICE") == [stranger] and cloud.statuses("DEVICE") == ["ACTIVE"]


# --- What the device is told ------------------------------------------------------------------------


def test_the_endpoint_is_asked_for_once(cloud, instance):
    """A second process takes it from the store; AWS's not answering takes nothing away."""
    instance.import_csv(["A", "B", "C", "D"])
    with instance.serve_plain():
        assert payload(instance.register("A"))["endpoint"] == cloud.iot.endpoint
    cloud.calls.clear()
    told, cloud.iot.endpoint = cloud.iot.endpoint, "other-ats.iot.eu-central-1.amazonaws.com"
    with instance.serve_plain():
        assert "DescribeEndpoint" not in cloud.calls
        assert payload(instance.register("B"))["endpoint"] == told
        cloud.proxy.plan("DescribeEndpoint", "denied")
        instance.server.send_signal(signal.SIGHUP)
        instance.server.wait_for_log("reloaded")
        assert payload(instance.register("C"))["endpoint"] == told
        assert "the last known endpoint is told on" in instance.server.stderr
        instance.server.send_signal(signal.SIGHUP)
        instance.server.wait_for_log("reloaded", count=2)
        assert payload(instance.register("D"))["endpoint"] == cloud.iot.endpoint


class RootServer:
    """Serves a text over TLS, with the server's certificate of an instance."""

    def __init__(self, instance, text):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *words):
                pass

            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(server.text.encode())

        self.text = text
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*(instance.folder / path for path in re.findall(r"http.tls_(?:certificate|private_key) *= *(.*)", instance.conf.read_text())))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_address[1]}/root.pem"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self.server.shutdown()
        self.server.server_close()


def test_a_root_ca_of_ones_own_is_fetched(cloud, instance):
    """Certificates are taken out of what is there; the last good ones count when there are none."""
    instance.import_csv(["A", "B", "C"])
    root = instance.root_ca.read_text()
    with RootServer(instance, "the house's root\n" + root) as server:
        settings = {"aws.iot_root_ca_url": server.url, "aws.root_ca": instance.root_ca}
        with instance.serve_plain(settings):
            assert payload(instance.register("A"))["certificates"]["root_ca"] == root
        server.text = "<html>Sign in</html>"
        with instance.serve_plain(settings):
            instance.server.send_signal(signal.SIGHUP)
            instance.server.wait_for_log("reloaded")
            assert payload(instance.register("B"))["certificates"]["root_ca"] == root
            assert "the last known endpoint is told on: aws.iot_root_ca_url: there is no certificate" in instance.server.stderr
        with pytest.raises(Failed, match="aws.iot_root_ca_url: there is no certificate, or a spoiled one"):
            instance.serve_plain({**settings, "aws.iot_root_ca_url": server.url + "?other"})
        server.text = "x" * 70000
        with pytest.raises(Failed, match="aws.iot_root_ca_url"):
            instance.serve_plain({**settings, "aws.iot_root_ca_url": server.url + "?other"})
    with pytest.raises(Failed, match="aws.iot_root_ca_url must begin with https://"):
        instance.serve_plain({"aws.iot_root_ca_url": "http://localhost/"})


# --- What stands in the way of all ------------------------------------------------------------------


def test_a_policy_that_is_not_there_is_told_at_the_start(cloud, instance):
    cloud.iot.policies.clear()
    with pytest.raises(Failed, match="AWS IoT has no policy 'cvm-device' .policy.name."):
        instance.serve_plain()


def test_a_region_without_an_endpoint_is_told_at_the_start(cloud, instance):
    cloud.iot.endpoint = ""
    with pytest.raises(Failed, match="InvalidRequestException: endpointType"):
        instance.serve_plain()


def test_a_certificate_provider_is_told_at_the_start(cloud, instance):
    cloud.iot.providers = ["house-ca"]
    with instance.serve_plain() as server:
        assert "signed by the account's certificate provider 'house-ca'" in server.stderr


def test_a_server_starts_without_the_right_to_look_for_providers(cloud, instance):
    cloud.proxy.plan("ListCertificateProviders", "denied")
    with instance.serve_plain() as server:
        assert "AccessDeniedException" in server.stderr


# --- What the console changed -----------------------------------------------------------------------


def test_a_flag_that_was_set_in_the_table_is_carried_out_by_a_full_pass(cloud, tmp_path):
    """The store's hints know nothing of it."""
    with DynamoDB() as database:
        database.empty()
        instance = cloud.configure(database.instance(tmp_path))
        instance.add("DEVICE")
        with instance.serve_plain():
            payload(instance.register("DEVICE"))
        for enabled, status in (("0", "INACTIVE"), ("1", "ACTIVE")):
            database.put({**database.row("DEVICE"), "is_enabled": {"N": enabled}})
            assert json.loads(instance.cvm("reconcile", "--json").stdout)["suspensions"] == 0
            instance.cvm("reconcile", "--full")
            assert cloud.statuses("DEVICE") == [status]


def test_a_full_pass_that_was_cut_short_is_gone_on_with(cloud, instance):
    """From the page that it had come to; the one after that begins at the front."""
    instance.import_csv([f"D{number:03}" for number in range(600)])
    with instance.serve_plain():
        for uid in ("D000", "D599"):
            payload(instance.register(uid))

    def asked():
        cloud.calls.clear()
        instance.cvm("reconcile", "--full")
        return cloud.calls.count("ListThingPrincipals")

    assert asked() == 2
    with sqlite3.connect(instance.folder / "devices.db") as database:
        assert not database.execute("SELECT * FROM meta WHERE name = 'full_pass'").fetchall()
        cursor, = database.execute("SELECT device_uid FROM devices ORDER BY device_uid LIMIT 1 OFFSET 511").fetchone()
        database.execute("INSERT INTO meta (name, value, version) VALUES ('full_pass', ?, 7)", (cursor,))
    assert asked() == 1 and asked() == 2
