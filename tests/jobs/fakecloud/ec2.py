"""What a person would do in the cloud's console: ``list`` the instances that were ever run, ``terminate`` one."""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3

ec2 = boto3.client("ec2", region_name="us-west-2")


def instances() -> list[dict[str, Any]]:
    found = [i for reservation in ec2.describe_instances()["Reservations"] for i in reservation["Instances"]]
    return [
        {
            "id": i["InstanceId"],
            "type": i["InstanceType"],
            "state": i["State"]["Name"],
            "market": i.get("InstanceLifecycle", "on-demand"),
            "groups": [group["GroupId"] for group in i["SecurityGroups"]],
            "address": i.get("PrivateIpAddress", ""),
        }
        for i in found
    ]


def rules() -> list[dict[str, Any]]:
    """Of every security group: ports and who may reach them."""
    groups = ec2.describe_security_groups()["SecurityGroups"]
    return [{"group": g["GroupId"], "name": g["GroupName"], **rule} for g in groups for rule in g["IpPermissions"]]


match sys.argv[1:]:
    case ["list"]:
        print(json.dumps(instances()))
    case ["rules"]:
        print(json.dumps(rules()))
    case ["image"]:
        print(ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"])
    case ["terminate", identifier]:
        ec2.terminate_instances(InstanceIds=[identifier])
