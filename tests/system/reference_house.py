"""The reference system's architecture on ministack, with our Lambda in its place: what the tests and the demo set up."""

import http.client
import http.server
import os
import pathlib
import ssl
import subprocess
import threading

import dynamodb
from cvm_server import Instance, build_folder, token
from ministack import KEYS, REGION

ROOT = pathlib.Path(__file__).parents[2]
TABLE = "devices"
VARIABLES = {"device_dynamodb_table": TABLE, "region": REGION, "thing_name_format": "thing_%DEVICE_UID%", "iot_policy_name": "cvm-device"}


def package():
    """The zip's bytes."""
    folder = pathlib.Path(os.environ.get("CVM_LAMBDA_FOLDER", ROOT / "build/lambda"))
    subprocess.run([ROOT / "examples/lambda/package", folder], check=True, capture_output=True, timeout=600)
    return (folder / "libcvm-lambda.zip").read_bytes()


def prepare(aws):
    """What the maker has: a policy, and the table of the devices."""
    aws.client("iot").create_policy(policyName="cvm-device", policyDocument='{"Version": "2012-10-17", "Statement": []}')
    aws.client("dynamodb").create_table(TableName=TABLE, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "device_uid", "KeyType": "HASH"}],
                                        AttributeDefinitions=[{"AttributeName": "device_uid", "AttributeType": "S"}])


def make_operator(aws, folder):
    """Who works on the same tables with the command."""
    os.environ.update(dynamodb.KEYS)
    operator = Instance(folder)
    text = operator.conf.read_text().replace("store = file:devices.db", f"store = dynamodb:{TABLE}").replace("platform = local:ca", "platform = aws-iot")
    operator.conf.write_text(f"{text}\nmodule.path = {build_folder()}\naws.endpoint_dynamodb = {aws.url}\naws.endpoint_iot = {aws.url}\n")
    operator.cvm("store", "create")
    return operator


def make_function(aws, code):
    """The registering one's ARN; beside it there is one that operates."""
    settings = {"CVM_AWS_ENDPOINT_DYNAMODB": aws.url, "CVM_AWS_ENDPOINT_IOT": aws.url, **KEYS}
    made = [aws.client("lambda").create_function(
        FunctionName=name, Runtime="provided.al2023", Handler=handler, Role="arn:aws:iam::000000000000:role/cvm", Code={"ZipFile": code},
        Timeout=30, MemorySize=512, Environment={"Variables": {**VARIABLES, **settings}})["FunctionArn"]
        for name, handler in (("cvm", "bootstrap"), ("cvm-operating", "reconcile"))]
    return made[0]


# --- Fronts -----------------------------------------------------------------------------------------


def function_url(aws, function):
    url = aws.client("lambda").create_function_url_config(FunctionName="cvm", AuthType="NONE")["FunctionUrl"]
    return url.split("/")[2], "/"


def http_api(aws, function):
    client = aws.client("apigatewayv2")
    api = client.create_api(Name="cvm", ProtocolType="HTTP")["ApiId"]
    integration = client.create_integration(ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=function, PayloadFormatVersion="2.0")["IntegrationId"]
    client.create_route(ApiId=api, RouteKey="POST /registration", Target=f"integrations/{integration}")
    client.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    return f"{api}.execute-api.localhost", "/registration"


def rest_api(aws, function):
    client = aws.client("apigateway")
    api = client.create_rest_api(name="cvm")["id"]
    root = client.get_resources(restApiId=api)["items"][0]["id"]
    resource = client.create_resource(restApiId=api, parentId=root, pathPart="registration")["id"]
    client.put_method(restApiId=api, resourceId=resource, httpMethod="POST", authorizationType="NONE")
    client.put_integration(restApiId=api, resourceId=resource, httpMethod="POST", type="AWS_PROXY", integrationHttpMethod="POST",
                           uri=f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{function}/invocations")
    client.create_deployment(restApiId=api, stageName="prod")
    return f"{api}.execute-api.localhost", "/prod/registration"


class Front:
    """TLS before it, as AWS has: ministack speaks plain HTTP. Names are hosts of AWS's."""

    def __init__(self, aws, operator, host, path):
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *words):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                connection = http.client.HTTPConnection("127.0.0.1", aws.port, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
                connection.request("POST", path, body, {**headers, "Host": f"{host.partition(':')[0]}:{aws.port}"})
                answer = connection.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                for name in ("Content-Type", "Retry-After"):
                    if answer.headers[name]:
                        self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(operator.folder / "tls/server.pem", operator.folder / "tls/server.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_address[1]}/registration"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self.server.shutdown()
        self.server.server_close()


# --- Devices ----------------------------------------------------------------------------------------


def add(aws, uid):
    """As the maker's script does."""
    aws.client("dynamodb").put_item(TableName=TABLE, Item={
        "device_uid": {"S": uid}, "device_token": {"S": token(uid)}, "is_enabled": {"N": "1"}, "is_registered": {"N": "0"}})


def row(aws, uid):
    return aws.client("dynamodb").get_item(TableName=TABLE, Key={"device_uid": {"S": uid}}, ConsistentRead=True)["Item"]


def register_device(operator, front, folder, uid, *more):
    """By the device client: its folder."""
    salt = folder / "salt"
    salt.write_text("YOUR_SECRET_SALT")
    done = subprocess.run([build_folder() / "examples/device/cvm-device", "--dir", folder / uid, "--url", front.url, "--uid", uid, "--ca", operator.root_ca,
                           "--salt-file", salt, "--register-only", "--json", *more], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / uid


def connect(aws, device):
    """With what the client keeps, as another program would use it."""
    folder = next(device.glob("untried"))
    return aws.connect((folder / "endpoint").read_text().strip(), folder / "certificate.pem", folder / "key.pem", (folder / "thing_name").read_text().strip())


def statuses(aws, uid):
    iot = aws.client("iot")
    principals = iot.list_thing_principals(thingName=f"thing_{uid}")["principals"]
    return sorted(iot.describe_certificate(certificateId=arn.rpartition("/")[2])["certificateDescription"]["status"] for arn in principals)
