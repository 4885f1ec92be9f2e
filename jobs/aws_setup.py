"""What cluster.yaml needs of an AWS account, once: a security group, and the id of a machine image.

    python jobs/aws_setup.py --region us-west-2 --ssh-from 203.0.113.7

Prints both as cluster.yaml wants them. Takes the credentials that boto3 finds; there are none in any file here.
"""

from __future__ import annotations

import argparse
import ipaddress
import sys

IMAGE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
"""AWS's name for the newest image of Ubuntu 24.04 with NVIDIA's driver."""


def source(text: str) -> str:
    """An address, or a network that is not much of the world."""
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected an address or a network, such as 203.0.113.7: {error}") from None
    if network.prefixlen < 16:
        raise argparse.ArgumentTypeError(f"{text} is {network.num_addresses:,} addresses; name those you work from")
    return str(network)


def group(region: str, name: str, ssh_from: str) -> str:
    """The id of the security group ``name`` of the default VPC, made if it is not there; its rules are as said here."""
    import boto3

    ec2 = boto3.client("ec2", region_name=region)
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
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
    print(f"      ImageId: {options.image or image(options.region)}")
    print(f"      SecurityGroupIds: [{group(options.region, options.name, options.ssh_from)}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
