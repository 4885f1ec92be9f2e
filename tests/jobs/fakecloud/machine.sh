# usage: machine.sh BASE NAME USER: makes a machine, that one reaches by ssh, of the new namespaces it is started in.
# It shares the disk with the others except for its home, /tmp and /dev/shm, and sees no process but its own: `ray stop`
# ends every Ray that it sees. It is process 1 of its machine: killing it switches the machine off.
set -e
base=$1 name=$2 user=$3
own=$base/machines/$name
mkdir -p "$own/home" "$own/tmp"
cp -a "$base/image/." "$own/home"
cat "$base/environment" >> "$own/home/.bashrc" # which Ray reads before each command
if test -f "$base/$name.environment"; then cat "$base/$name.environment" >> "$own/home/.bashrc"; fi

mount --make-rprivate /
hostname "$name"
ip link set lo up
mount --bind "$own/home" "$base/home"
mount --rbind "$(cat "$base/site-packages")" "$base/packages" # may be below /tmp, which is about to be covered
mount --bind "$own/tmp" /tmp
chmod 1777 /tmp
mount -t tmpfs tmpfs /dev/shm
sed "s,^root:.*,$user:x:0:0::$base/home:/bin/bash\n&," /etc/passwd > "$own/passwd"
mount --bind "$own/passwd" /etc/passwd
mkdir -p /run/sshd
mount -t tmpfs -o mode=0755 tmpfs /run/sshd

exec /usr/sbin/sshd -D -e -f /dev/null -h "$base/hostkey" -o Port=22 -o UsePAM=no -o StrictModes=no -o PidFile=none \
  -o PasswordAuthentication=no -o PermitRootLogin=prohibit-password -o AuthorizedKeysFile="$base/authorized_keys"
