"""moto as a server that enforces IAM; a process of its own, since moto enforces for all of a process or not at all.

moto knows users, policies, signatures, actions and resources. What S3 asks and moto does not is added here, with
moto's own reading of the policies:

* s3:DeleteObject for every key of a batch; moto asks for it once, and for the bucket;
* s3:GetObject on what a part is copied from;
* the condition on ``s3:prefix``, which moto ignores;
* a missing object is forbidden to who may not list the bucket;
* the key that a request to KMS is about, and a refusal as KMS words it; to moto, every request is about all keys.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import xmltodict
from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AccessDeniedError, JsonRESTError
from moto.iam.access_control import IAMPolicy, IAMPolicyStatement, S3IAMRequest
from moto.kms.responses import KmsResponse
from moto.s3.exceptions import MissingKey, S3AccessDeniedError
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

_moto_get = S3Response._key_response_get
_moto_authorize = ActionAuthenticatorMixin._authenticate_and_authorize_normal_action


def _authorize(response: Any, bucket_name: str | None = None, key_name: str | None = None) -> None:
    if settings.INITIAL_NO_AUTH_ACTION_COUNT:
        return
    bucket = f"arn:aws:s3:::{bucket_name}"
    action, resources = response._get_action(), [f"{bucket}/{key_name}" if key_name else bucket]
    if action == "DeleteObject" and not key_name:
        objects = xmltodict.parse(response.body, force_list=("Object",))["Delete"]["Object"]
        resources = [f"{bucket}/{found['Key']}" for found in objects]
    for resource in resources:
        _ask(response, action, resource)
    source = response.headers.get("x-amz-copy-source")
    if source:
        _ask(response, "GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}")
    if action == "ListBucket":
        _may_list(response, response.querystring.get("prefix", [""])[0])


def _ask(response: Any, action: str, resource: str) -> S3IAMRequest:
    request = S3IAMRequest(
        account_id=response.current_account,
        method=response.method,
        path=response.raw_path + (f"?{response.uri.partition('?')[2]}" if "?" in response.uri else ""),
        data=response.data,
        body=response.raw_body,
        headers=response.headers,
        action=action,
    )
    request.check_signature()
    request.check_action_permitted(resource)
    return request


def _may_list(response: Any, prefix: str | None) -> None:
    """Refuse unless a statement allows to list, with this prefix; ``None``: the request has none."""
    request = _ask(response, "ListBucket", f"arn:aws:s3:::{response.bucket_name}")
    statements = [
        statement
        for policy in request._access_key.collect_policies()
        for statement in IAMPolicy(policy)._policy_json["Statement"]
        if IAMPolicyStatement(statement)._check_element_matches("Action", "s3:ListBucket")
    ]
    for statement in statements:
        patterns = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
        if patterns is None or (prefix is not None and any(fnmatchcase(prefix, each) for each in patterns)):
            return
    raise S3AccessDeniedError


def _get(response: Any, query: dict[str, Any], key_name: str) -> Any:
    try:
        return _moto_get(response, query, key_name)
    except MissingKey:
        if not settings.INITIAL_NO_AUTH_ACTION_COUNT:
            _may_list(response, None)
        raise


def _kms_resource(response: Any) -> str:
    asked = json.loads(response.body or "{}")
    if "CiphertextBlob" in asked:  # which moto begins with the id of the key
        key = base64.b64decode(asked["CiphertextBlob"])[:36].decode()
    else:
        key = asked.get("KeyId", "")
    return key if key.startswith("arn:") else f"arn:aws:kms:us-east-1:{response.current_account}:key/{key}"


def _authorize_kms(response: Any, resource: str = "*") -> None:
    try:
        _moto_authorize(response, resource)
    except AccessDeniedError as error:  # in XML, which KMS does not speak
        raise JsonRESTError("AccessDeniedException", "not authorized") from error


ActionAuthenticatorMixin._authenticate_and_authorize_s3_action = _authorize
S3Response._key_response_get = _get
KmsResponse._determine_resource = _kms_resource
KmsResponse._authenticate_and_authorize_normal_action = _authorize_kms


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()  # until whoever started this goes away
