"""What cluster.yaml needs of an AWS account, once: a security group, and the id of a machine image.

    python jobs/aws_setup.py --region us-west-2 --ssh-from 203.0.113.7

Prints both as cluster.yaml wants them. Takes the credentials that boto3 finds; there are none in any file here.
"""

from __future__ import annotations

import argparse
import sys

from ssh_sources import source

IMAGE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
"""AWS's name for the newest image of Ubuntu 24.04 with NVIDIA's driver."""


class SetupError(Exception):
    """One line: what, where, and what to do."""


def group(region: str, name: str, ssh_from: str) -> str:
    """The id of the security group ``name`` of the default VPC, made if it is not there; its rules are as said here.

    Raises SetupError: the region has no default VPC.
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
        identifier, there = found[0]["GroupId"], found[0]["IpPermissions"]
        if there:  # who moved gets a rule for where he is now, and the old one goes
            ec2.revoke_security_group_ingress(GroupId=identifier, IpPermissions=there)
    else:
        about = "raybench: SSH from one address, anything within the group"
        identifier = ec2.create_security_group(GroupName=name, Description=about, VpcId=vpc["VpcId"])["GroupId"]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": ssh_from}]}
    within = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": identifier}]}
    ec2.authorize_security_group_ingress(GroupId=identifier, IpPermissions=[ssh, within])
    return str(identifier)


def image(region: str) -> str:
    """The newest image's id: a pin once it is written down."""
    import boto3

    return str(boto3.client("ssm", region_name=region).get_parameter(Name=IMAGE)["Parameter"]["Value"])


def main() -> int:
    p = argparse.ArgumentParser(description="A security group and an image for cluster.yaml.")
    p.add_argument("--region", required=True)
    p.add_argument("--ssh-from", type=source, required=True, metavar="ADDRESS", help="yours, as the world sees it")
    p.add_argument("--name", default="raybench", help="the group's (default: raybench)")
    p.add_argument("--image", metavar="AMI", help="your own, instead of AWS's newest")
    options = p.parse_args()
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        chosen = options.image or image(options.region)
        made = group(options.region, options.name, options.ssh_from)
    except (SetupError, BotoCoreError, ClientError) as error:  # no credentials, no such region, not allowed
        print(f"{p.prog}: {error}", file=sys.stderr)
        return 1
    print(f"      ImageId: {chosen}")
    print(f"      SecurityGroupIds: [{made}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
