#!/bin/sh
# Makes the database in an empty volume, before the service first starts. The superuser postgres gets the password in
# /run/secrets/postgres_password; without that file nobody can log in over the network.
set -eu
data=/var/lib/postgresql/data
[ ! -e $data ] || exit 0

set -- -D $data.new --encoding UTF8 --locale C.UTF-8 --data-checksums --auth-local peer --auth-host scram-sha-256
if [ -e /run/secrets/postgres_password ]; then
    # initdb does not run as root and cannot read the secret. Its copy is in memory, and gone at the end.
    trap 'rm -f /dev/shm/postgres_password' EXIT
    install -o postgres -m 0400 /run/secrets/postgres_password /dev/shm/postgres_password
    set -- "$@" --pwfile /dev/shm/postgres_password
fi
rm -rf $data.new # of a start that was cut off
runuser -u postgres -- initdb "$@"
echo 'host all all samenet scram-sha-256' >>$data.new/pg_hba.conf
echo "include_if_exists = '/etc/postgresql/hub.conf'" >>$data.new/postgresql.conf
mv $data.new $data
