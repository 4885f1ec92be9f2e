"""What cluster.yaml needs of an AWS account, once: a security group, and the id of a machine image.

    python jobs/aws_setup.py --region us-west-2 --ssh-from 203.0.113.7

Prints both as cluster.yaml wants them. Takes the credentials that boto3 finds; there are none in any file here.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from setup_error import SetupError
from ssh_sources import source

IMAGE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
"""AWS's name for the newest image of Ubuntu 24.04 with NVIDIA's driver."""


Atom = tuple[str, int, int, str, str]
"""One rule: protocol, first and last port, the kind of a source, and the source."""
_KINDS = {
    "IpRanges": "CidrIp",
    "Ipv6Ranges": "CidrIpv6",
    "UserIdGroupPairs": "GroupId",
    "PrefixListIds": "PrefixListId",
}


def group(region: str, name: str, ssh_from: str) -> str:
    """The id of the security group ``name`` of the default VPC, made if it is not there; its rules are as said here.

    Raises SetupError: the region has no default VPC; botocore's errors.
    """
    import boto3

    ec2 = boto3.client("ec2", region_name=region)
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not vpcs:
        raise SetupError(f"{region} has no default VPC: make one by `aws ec2 create-default-vpc`")
    (vpc,) = vpcs
    mine = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    found = ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
    if found:
        identifier, there = found[0]["GroupId"], _atoms(found[0]["IpPermissions"])
    else:
        about = "raybench: SSH from one address, anything within the group"
        identifier = ec2.create_security_group(GroupName=name, Description=about, VpcId=vpc["VpcId"])["GroupId"]
        there = set()
    wanted = {("tcp", 22, 22, "IpRanges", ssh_from), ("-1", -1, -1, "UserIdGroupPairs", identifier)}
    # Who moved gets a rule for where he is now before the old one goes: what fails half-way locks nobody out.
    if missing := wanted - there:
        ec2.authorize_security_group_ingress(GroupId=identifier, IpPermissions=[*map(_permission, missing)])
    if surplus := there - wanted:
        ec2.revoke_security_group_ingress(GroupId=identifier, IpPermissions=[*map(_permission, surplus)])
    return str(identifier)


def _atoms(permissions: list[dict[str, Any]]) -> set[Atom]:
    """Rules as EC2 tells them, which puts those of the same ports together."""
    return {
        (one["IpProtocol"], one.get("FromPort", -1), one.get("ToPort", -1), kind, source[key])
        for one in permissions
        for kind, key in _KINDS.items()
        for source in one.get(kind, ())
    }


def _permission(atom: Atom) -> dict[str, Any]:
    protocol, first, last, kind, source = atom
    ports = {} if first == -1 and protocol == "-1" else {"FromPort": first, "ToPort": last}
    return {"IpProtocol": protocol, **ports, kind: [{_KINDS[kind]: source}]}


def image(region: str) -> str:
    """The newest image's id: a pin once it is written down. Raises botocore's errors."""
    import boto3

    return str(boto3.client("ssm", region_name=region).get_parameter(Name=IMAGE)["Parameter"]["Value"])


def main() -> int:
    p = argparse.ArgumentParser(description="A security group and an image for cluster.yaml.")
    p.add_argument("--region", type=_region, required=True)
    p.add_argument("--ssh-from", type=source, required=True, metavar="ADDRESS", help="yours, as the world sees it")
    p.add_argument("--name", default="raybench", help="the group's (default: raybench)")
    p.add_argument("--image", metavar="AMI", help="your own, instead of AWS's newest")
    options = p.parse_args()
    try:
        chosen, made = _made(options)
    except SetupError as error:
        print(f"{p.prog}: {error}", file=sys.stderr)
        return 1
    print(f"      ImageId: {chosen}")
    print(f"      SecurityGroupIds: [{made}]")
    return 0


def _made(options: argparse.Namespace) -> tuple[str, str]:
    """The image's id and the group's. Raises SetupError."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    except ImportError:
        raise SetupError("boto3 is not installed: pip install -c constraints.txt boto3") from None
    try:
        return options.image or image(options.region), group(options.region, options.name, options.ssh_from)
    except NoCredentialsError as error:
        raise SetupError(f"{error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `aws configure`") from None
    except (BotoCoreError, ClientError) as error:  # no such region, not allowed, not reached
        raise SetupError(f"{options.region}: {' '.join(str(error).split())}") from None


def _region(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2,4}(-[a-z]+)+-\d+", text):
        raise argparse.ArgumentTypeError(f"expected a region, such as us-west-2, got {text!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
