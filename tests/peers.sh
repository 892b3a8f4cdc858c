#!/bin/bash
# SPDX-License-Identifier: ISC
# Downloads the distribution's echo servers that echo-probe is tested against, without installing them: the packages of the inetds
# conflict with each other, and each would start its daemon.
#
#   bash tests/peers.sh FOLDER [PACKAGE...]
#
# Unpacks each into FOLDER/PACKAGE, and the libraries that they need into FOLDER/lib. Run "apt-get update" before. The test
# tests/functional/peers.py uses the folder that PEERS in the environment names.
set -euo pipefail

[ $# -gt 0 ] || { echo "usage: $0 FOLDER [PACKAGE...]" >&2; exit 64; }
mkdir -p "$1"
cd "$1"
folder=$PWD
shift
[ $# -gt 0 ] || set -- inetutils-inetd openbsd-inetd xinetd ncat socat
debs=$(mktemp -d)
trap 'rm -rf "$debs"' EXIT
chmod 755 "$debs"

fetch() { # PACKAGE INTO
    mkdir -p "$2"
    (cd "$debs" && apt-get -qq -o APT::Sandbox::User=root download "$1")
    dpkg -x "$debs/$1"_*.deb "$2"
}

installed() { # PACKAGE
    dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

libraries_of() { # PACKAGE, which was fetched
    dpkg -f "$debs/$1"_*.deb Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ :]*\).*/\1/p'
}

fetch_libraries_of() { # PACKAGE, which was fetched
    local library
    for library in $(libraries_of "$1"); do
        if ! installed "$library" && ! compgen -G "$debs/${library}_*.deb" >/dev/null; then
            fetch "$library" "$folder/lib"
            fetch_libraries_of "$library"
        fi
    done
}

for package; do
    if [ ! -d "$folder/$package" ]; then
        fetch "$package" "$folder/$package.new"
        fetch_libraries_of "$package"
        mv "$folder/$package.new" "$folder/$package"
    fi
done
