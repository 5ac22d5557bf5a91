#!/bin/sh
# mysql_from_debian.sh FOLDER: Debian's newest MySQL in a folder of its own, with all that it links to.
#
# Debian's releases have MariaDB in its place, which Airflow does not support. Nothing outside of the folder
# changes: apt gets a state of its own, and packages are unpacked and not installed. The server is FOLDER/mysqld.
set -eu
mkdir -p "$1/apt/lists/partial" "$1/apt/cache/archives/partial" "$1/apt/sources" "$1/apt/preferences" "$1/root"
folder=$(cd "$1" && pwd)
apt=$folder/apt
# From wherever this system has its own release.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | grep -v -e - | head -n 1)

cat >"$apt/sources/unstable.sources" <<END
Types: deb
URIs: ${mirror%% *}
Suites: unstable
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
: >"$apt/status"

get() {
  apt-get -qq -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$apt/sources" \
    -o Dir::Etc::Preferences=/dev/null -o "Dir::Etc::PreferencesParts=$apt/preferences" \
    -o "Dir::State::Lists=$apt/lists" -o "Dir::State::Status=$apt/status" -o "Dir::Cache=$apt/cache" \
    -o APT::Sandbox::User=root -o Debug::NoLocking=true "$@"
}
get update
get install --yes --no-install-recommends --download-only mysql-server-core
for package in "$apt"/cache/archives/*.deb; do
  dpkg-deb --extract "$package" "$folder/root"
done
rm -rf "$apt"

cat >"$folder/mysqld" <<END
#!/bin/sh
# Its own loader and libraries: they are newer than this system's. --no-defaults must come first.
usr='$folder/root/usr'
case \${1-} in --no-defaults) shift; set -- --no-defaults --basedir="\$usr" --lc-messages-dir="\$usr/share/mysql" \\
  --character-sets-dir="\$usr/share/mysql/charsets" --plugin-dir="\$usr/lib/mysql/plugin" "\$@" ;; esac
for loader in "\$usr"/lib64/ld-linux-*.so.*; do
  exec "\$loader" --library-path "\$(dirname "\$(readlink -f "\$loader")")" "\$usr/sbin/mysqld" "\$@"
done
END
chmod +x "$folder/mysqld"
"$folder/mysqld" --version
