#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs the system packages of the named groups in debian-packages.txt: packaging/deps.sh GROUP...
# Does nothing if all are installed. Without apt, it lists what is missing.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
groups=" $* "
wanted=()
while read -r group package; do
    [[ $groups == *" $group "* ]] && wanted+=("$package")
done < <(grep -v '^#' "$here/debian-packages.txt")

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is neither Debian nor Ubuntu; please install what these packages are called here: ${wanted[*]}"
    exit 0
fi

installed=" $(dpkg-query -W -f '${db:Status-Abbrev}${Package} ' "${wanted[@]}" 2>/dev/null || true) "
missing=()
for package in "${wanted[@]}"; do
    [[ $installed == *"ii $package "* ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

echo "deps: installing ${missing[*]}"
if [[ $(id -u) -ne 0 ]]; then
    echo "deps: this needs root; run: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
install=(apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends)
if ! "${install[@]}" "${missing[@]}" </dev/null >/dev/null; then
    echo "deps: once more, with a fresh list of packages"
    apt-get -qq update </dev/null
    "${install[@]}" "${missing[@]}" </dev/null >/dev/null
fi
