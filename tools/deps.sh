#!/usr/bin/env bash
# Prints the one line that installs the packages of deps.txt and, as root or
# with sudo, runs it for those that are missing. With -q it says nothing when
# nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

# Servers are where the paths of ordinary users do not lead.
PATH=$PATH:/usr/sbin

# there tells whether a command, or a file if the name is a path, is installed.
there() {
	if [[ $1 == /* ]]; then
		compgen -G "$1" >/dev/null
	else
		command -v "$1" >/dev/null
	fi
}

all=() missing=()
while read -r package command _; do
	if [[ -z $package || $package == \#* ]]; then
		continue
	fi
	all+=("$package")
	if ! there "$command"; then
		missing+=("$package")
	fi
done <deps.txt

if [[ ${#missing[@]} -eq 0 ]]; then
	if [[ ${1-} != -q ]]; then
		echo "apt-get install ${all[*]}"
		echo "Nothing is missing."
	fi
	exit 0
fi

echo "apt-get install ${all[*]}"
echo "Missing: ${missing[*]}"
become=()
if [[ $(id -u) -ne 0 ]]; then
	if ! command -v sudo >/dev/null; then
		echo "Run the line above as root, then go on." >&2
		exit 1
	fi
	become=(sudo)
fi
"${become[@]}" apt-get update -q
"${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
