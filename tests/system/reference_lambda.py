"""A stand-in for the reference system's Lambda: the same calls in the same order, written from its description. It makes RSA keys at
AWS, activates at once, and records last; where it fails it leaves what it has made."""

import datetime


class Failed(Exception):
    pass


def error(status, message):
    return {"statusCode": status, "status": "ERROR", "payload": {"message": message}}


def handler(event, dynamodb, iot, variables, fails=False):
    """variables: its environment's. fails: where it fails most often, before its last call."""
    table, uid = variables["device_dynamodb_table"], event["device_uid"]
    item = dynamodb.get_item(TableName=table, Key={"device_uid": {"S": uid}}).get("Item")
    device = {name: float(value["N"]) if "N" in value else next(iter(value.values())) for name, value in (item or {}).items()}
    if not device or device["device_token"] != event["device_token"] or device["is_enabled"] == 0:
        return error(403, "not authorized")
    if device["is_registered"] == 1:
        return error(403, "registered")
    thing = variables["thing_name_format"].replace("%DEVICE_UID%", uid)
    made = iot.create_keys_and_certificate(setAsActive=True)
    iot.attach_policy(policyName=variables["iot_policy_name"], target=made["certificateArn"])
    iot.create_thing(thingName=thing, attributePayload={"attributes": {"device_uid": uid, "registered_via": "iot-core-cvm"}})
    iot.attach_thing_principal(thingName=thing, principal=made["certificateArn"])
    if fails:
        raise Failed
    dynamodb.update_item(TableName=table, Key={"device_uid": {"S": uid}},
                         UpdateExpression="SET is_registered = :r, iot_core_thing_name = :t, iot_core_registered_on = :o",
                         ExpressionAttributeValues={":r": {"N": "1"}, ":t": {"S": thing}, ":o": {"S": datetime.datetime.utcnow().isoformat()}})
    endpoint = iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
    return {"statusCode": 200, "status": "SUCCESS", "payload": {
        "endpoint": endpoint, "thing_name": thing, "certificates": {"device_certificate": made["certificatePem"], "root_ca": ""},
        "keyPair": {"publicKey": made["keyPair"]["PublicKey"], "privateKey": made["keyPair"]["PrivateKey"]}}}
