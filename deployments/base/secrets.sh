#!/bin/sh
# Makes the passwords of a deployment in its folder secrets: one file for each
# role, and the list for PgBouncer. What is there already stays. Passwords may
# also be written by hand; then run this again to make the list.
#
#   deployments/base/secrets.sh deployments/bigbrotr
set -eu
cd "${1:?the folder of the deployment}"

# Nobody else gets into the folder. The files in it can be read by all, because
# each is mounted alone into containers whose users are others.
mkdir -p secrets
chmod 700 secrets
umask 022

for role in postgres owner writer reader; do
	file=secrets/${role}_password
	if [ ! -s "$file" ]; then
		head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$file"
	fi
done

for role in owner writer reader; do
	# A quotation mark in a password is written twice.
	printf '"bigbrotr_%s" "%s"\n' "$role" "$(sed 's/"/""/g' "secrets/${role}_password")"
done >secrets/pgbouncer_users
echo "The passwords are in $PWD/secrets."
