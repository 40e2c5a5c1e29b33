"""A stand-in for the reference system's Lambda: the same calls in the same order, written from its description. It makes RSA keys at
AWS, activates at once, and records last; where it fails it leaves what it has made."""

import datetime


class Failed(Exception):
    pass


def error(message, status=500):
    return {"statusCode": status, "status": "ERROR", "payload": {"message": message}}


def verdict(device, token):
    """Why it refuses a device, by its own rules; None if it does not. A missing attribute is a KeyError."""
    if device["is_registered"] == 1:
        return "registered"
    if device["is_enabled"] == 0:
        return "disabled"
    return "token" if device["device_token"] != token else None


def handler(event, dynamodb, iot, variables, fails=False):
    """variables: its environment's. fails: where it fails most often, before its last call."""
    table, uid = variables["device_dynamodb_table"], event["device_uid"]
    item = dynamodb.get_item(TableName=table, Key={"device_uid": {"S": uid}}).get("Item")
    device = {name: float(value["N"]) if "N" in value else next(iter(value.values())) for name, value in (item or {}).items()}
    if not device:
        return error("not found", 404)
    if verdict(device, event["device_token"]):
        return error(verdict(device, event["device_token"]))
    thing = variables["thing_name_format"].replace("%DEVICE_UID%", uid)
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_policy(policyName=variables["iot_policy_name"], target=made["certificateArn"])
    now = datetime.datetime.utcnow().isoformat()  # in the thing's attributes too: it can't make a thing that is there
    iot.create_thing(thingName=thing, attributePayload={
        "attributes": {"device_uid": uid, "registered_via": "iot-core-cvm", "registered_on": now}, "merge": True})
    iot.attach_thing_principal(thingName=thing, principal=made["certificateArn"])
    if fails:
        raise Failed
    dynamodb.update_item(TableName=table, Key={"device_uid": {"S": uid}},
                         UpdateExpression="SET is_registered = :r, iot_core_thing_name = :t, iot_core_registered_on = :o",
                         ExpressionAttributeValues={":r": {"N": "1"}, ":t": {"S": thing}, ":o": {"S": now}})
    endpoint = iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    return {"statusCode": 200, "status": "SUCCESS", "payload": {
        "endpoint": endpoint, "thing_name": thing, "certificates": {"device_certificate": made["certificatePem"], "root_ca": ""},
        "keyPair": {"publicKey": made["keyPair"]["PublicKey"], "privateKey": made["keyPair"]["PrivateKey"]}}}
